"""Lstm: the LSTM of junhyukoh/caffe-lstm, over rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Layer, Shape, count
from caffe2k.ops.base import Count, DataShapes, LayerOp, LayoutPlan
from caffe2k.ops.errors import OpError, missing_num_output
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import product
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import flat_segments, layout_to_flatten
from caffe2k.weights.transforms import IDENTITY, OI_TO_IO, dense_kernel

_PATH = "lstm_param"


@layer_op("Lstm")
class Lstm(LayerOp):
    """Rows (T * N, ...), and where sequences go on (junhyukoh/caffe-lstm,
    lstm_layer.cpp)."""

    keras = "caffe_runtime.flat_lstm.FlatLSTM"
    bottoms = Count(1, 2)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.lstm_param

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        rows, streams = bottom[0][0], self.p.batch_size
        if self.p.num_output < 1:
            raise missing_num_output(self.layer, _PATH)
        if streams < 1 or (rows or 0) % streams:
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` can't share {rows} rows out to {streams} "
                "streams",
                field=f"{_PATH}.batch_size",
                help="the first size of its bottom is time steps times batch_size",
            )
        if any(product(clip) != rows or clip[0] != rows for clip in bottom[1:]):
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` needs one value for each of {rows} rows, not "
                f"{bottom[1]}",
                field="bottom",
                index=1,
                help="0 for a row that starts a sequence, else 1",
            )
        return [(rows, self.p.num_output)]

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        units: int = self.p.num_output
        values = math.prod(dim or 1 for dim in bottom[0][1:])
        return [(4 * units, values), (4 * units, units), (4 * units,)]

    def multiply_adds(self, bottom: Sequence[Shape], top: Sequence[Shape]) -> int:
        """Both matrices for each row."""
        matrices = self.param_shapes(bottom)[:2]
        return (bottom[0][0] or 0) * sum(map(count, matrices))

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        inputs = [caffe_layout(len(shape)) for shape in bottom]
        inputs[0] = layout_to_flatten(given[0], 1)
        return LayoutPlan(inputs, [caffe_layout(2)])

    def lower(self, k: Lowering) -> None:
        p, arguments = self.p, dict[str, Argument]()
        if p.batch_size != 1:
            arguments["streams"] = p.batch_size
        if p.clipping_threshold > 0:
            arguments["clipping_threshold"] = p.clipping_threshold
        sharers = k.sharers
        if len(sharers) > 1:
            arguments["uses"] = len(sharers)
        use = sharers.index(self.layer)
        order = flat_segments(k.in_layouts[0], k.bottom[0], 1)
        weights = [
            k.weight("kernel", 0, dense_kernel(4 * p.num_output, order)),
            k.weight("bias", 2, IDENTITY),
            k.weight("recurrent_kernel", 1, OI_TO_IO),
        ]
        made = k.add_many(
            runtime("flat_lstm", "FlatLSTM"),
            p.num_output,
            weights=weights,
            call_with={"use": use} if use else {},
            **arguments,
            **self._starts(k),
        )
        k.output(*made)

    def _starts(self, k: Lowering) -> dict[str, Argument]:
        """How the weights start; the recurrent ones as the others if nothing is said."""
        path = f"{_PATH}.weight_filler"
        kernel, recurrent = (
            initializer(self.p.weight_filler, k.params[blob], path) for blob in (0, 1)
        )
        bias = initializer(self.p.bias_filler, k.params[2], f"{_PATH}.bias_filler")
        found: dict[str, Argument] = {}
        if kernel != "zeros":
            found["kernel_initializer"] = kernel
        if recurrent != kernel:
            found["recurrent_initializer"] = recurrent
        if bias != "zeros":
            found["bias_initializer"] = bias
        return found
