"""A run of joined in-place layers as one Keras layer."""

from __future__ import annotations

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import find_op


def lower_run(k: Lowering) -> None:
    """Writes the layer that computes `k.layer.run` with Caffe's gradient."""
    steps: list[Argument] = []
    for layer in k.layer.run:
        op = find_op(layer.type)
        step = op(layer).in_place_step() if op is not None else None
        assert step is not None
        steps.append(step)
    arguments: dict[str, Argument] = {}
    if not k.layer.run[0].in_place:
        arguments["first_in_place"] = False
    k.output(k.add(runtime("in_place", "InPlaceRun"), steps, **arguments))
