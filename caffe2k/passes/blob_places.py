"""Where the blobs of a net are in its Keras model: for whoever asks for one by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from caffe2k.codegen.program import Tensor
from caffe2k.ir.layout import Layout
from caffe2k.ops.lowering import LoweredNet


@dataclass(frozen=True)
class BlobPlace:
    """An output of a Keras layer: of the `use`-th call of it, where calls share weights.

    `layout` says which of the blob's axes, in Caffe's order, each Keras axis holds.
    """

    layer: str
    use: int
    output: int
    layout: Layout


def blob_places(whole: LoweredNet) -> dict[str, BlobPlace]:
    """Blob -> its place in the model, in the net's order.

    A blob that in-place layers write again is what the last of them leaves, as in
    Caffe's `net.blobs`. Inputs of the model, and blobs that it does not compute (losses
    that compile() has), are left out.
    """
    made = _outputs(whole)
    last = {}
    for blob in sorted(whole.tensors, key=lambda b: b.version):
        last[blob.name] = blob
    return {
        blob.name: BlobPlace(*made[tensor], whole.layouts[blob])
        for blob, tensor in whole.tensors.items()
        if last[blob.name] == blob and tensor in made
    }


def _outputs(whole: LoweredNet) -> dict[Tensor, tuple[str, int, int]]:
    """Tensor -> the layer, the call and the output that it is."""
    uses: Counter[str] = Counter()
    made = {}
    for step in whole.program.steps:
        name = step.layer.name
        if name is None:
            continue
        for i, tensor in enumerate(step.outputs):
            made[tensor] = (name, uses[name], i)
        uses[name] += 1
    return made
