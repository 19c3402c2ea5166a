"""The one kind of sharing that does not do in Caffe what the prototxt says."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Net, Phase

_RECURRENT = ("LSTM", "RNN")


def warn_of_shared_recurrence(net: Net, diagnostics: Diagnostics) -> None:
    """Warns of each recurrent layer that takes its weights from another one.

    RecurrentLayer::LayerSetUp (recurrent_layer.cpp) unrolls a net whose later time steps
    point to the weights that the layer was made with; Net::ShareWeights (net.cpp) does
    not reach those pointers, and only the TEST phase renews them (Forward_cpu).
    """
    if Phase.TRAIN not in net.phases:
        return
    by_index = {layer.index: layer for layer in net.layers}
    for layer in net.layers:
        if layer.type not in _RECURRENT:
            continue
        owned = [net.owners[key] for key in net.owners if key[0] == layer.index]
        steps = net.shapes.get(layer.bottoms[0], (1,))[0]
        if not owned or steps == 1:
            continue
        owner = by_index[owned[0][0]]
        diagnostics.warning(
            "shared-recurrence",
            f"layer `{layer.name}` shares the weights of `{owner.name}`; Caffe, while "
            f"training, runs `{layer.name}` with hidden-to-hidden weights of its own that "
            "never learn, but the Keras layer shares them as written",
            layer.message.span_of("param") or layer.span,
            help="to share them in Caffe too, run both sequences as streams of one layer",
        )
