"""The one kind of frozen weight that Caffe's clipping norm does not leave out."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Blob, Net

_RECURRENT = ("LSTM", "RNN")


def warn_of_frozen_recurrence(net: Net, diagnostics: Diagnostics) -> None:
    """Warns of each frozen recurrent weight whose gradient Caffe clips along.

    RecurrentLayer::Backward_cpu (recurrent_layer.cpp) computes the gradients of all its
    weights, whatever their lr_mult, and SGDSolver::ClipGradients (sgd_solver.cpp) sums
    those of all parameters. It runs where there is something to learn in or below it.
    """
    learning: set[Blob] = set()
    for layer in net.layers:
        number = len(net.param_shapes.get(layer.index, ()))
        keys = [
            net.owners.get(key, key)
            for key in ((layer.index, i) for i in range(number))
        ]
        rates = [net.multipliers[key][0] for key in keys]
        if not (any(rates) or learning.intersection(layer.bottoms)):
            continue
        learning.update(layer.tops)
        if layer.type in _RECURRENT and not all(rates):
            diagnostics.warning(
                "frozen-recurrence",
                f"layer `{layer.name}` has frozen weights, whose gradients Caffe counts "
                "in the norm of `clip_gradients`; train.py leaves them out",
                layer.message.span_of("param") or layer.span,
                help="compare the losses at the start before relying on the clipping",
            )
