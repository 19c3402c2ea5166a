"""LSTM and RNN over time-major sequences, and LSTMUnit, one step of an LSTM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Layer, Shape, count
from caffe2k.ops.base import Count, DataShapes, LayerOp, LayoutPlan, exactly
from caffe2k.ops.errors import OpError, missing_num_output
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import flat_segments, layout_to_flatten
from caffe2k.weights.plan import PlannedWeight
from caffe2k.weights.transforms import IDENTITY, OI_TO_IO, dense_kernel

_PATH = "recurrent_param"


class RecurrentOp(LayerOp):
    """x (T, N, ...), cont (T, N), then a static input and the initial states if given.

    See RecurrentLayer::LayerSetUp and Reshape (recurrent_layer.cpp).
    """

    messages = ("recurrent_param",)
    bottoms = Count(2, 5)
    tops = Count(1, 3)

    states: ClassVar[int]
    """How many blobs the state is, which expose_hidden makes bottoms and tops."""
    gates: ClassVar[int]
    """The rows of the weights for each unit."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.recurrent_param

    @property
    def _exposed(self) -> int:
        return self.states if self.p.expose_hidden else 0

    @property
    def _has_static(self) -> bool:
        return len(self.layer.bottoms) > 2 + self._exposed

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self._check_counts()
        if self.p.num_output < 1:
            raise missing_num_output(self.layer, _PATH)
        self._check_shapes(bottom)
        time, streams = bottom[0][:2]
        state: Shape = (1, streams, self.p.num_output)
        return [(time, *state[1:]), *[state] * self._exposed]

    def _check_counts(self) -> None:
        """recurrent_layer.hpp: MinBottomBlobs, MaxBottomBlobs, ExactNumTopBlobs."""
        least = 2 + self._exposed
        for word, blobs, wanted in (
            ("bottom", self.layer.bottoms, Count(least, least + 1)),
            ("top", self.layer.tops, exactly(1 + self._exposed)),
        ):
            if len(blobs) not in wanted:
                with_states = "with" if self._exposed else "without"
                raise OpError(
                    f"{word}-count",
                    f"layer `{self.layer.name}` has {len(blobs)} {word}s; "
                    f"{self.layer.type} {with_states} `expose_hidden` takes {wanted}",
                    help="bottoms: x, cont, a static input if there is one, initial "
                    "states; tops: the output, final states",
                )

    def _check_shapes(self, bottom: Sequence[Shape]) -> None:
        if len(bottom[0]) < 3:
            raise self._wrong_shape(0, bottom[0], "(time steps, streams, ...)")
        time, streams = bottom[0][:2]
        if bottom[1] != (time, streams):
            raise self._wrong_shape(1, bottom[1], f"({time}, {streams})")
        if self._has_static and (len(bottom[2]) < 2 or bottom[2][0] != streams):
            raise self._wrong_shape(2, bottom[2], f"({streams}, ...)")
        first = len(bottom) - self._exposed
        state = (1, streams, self.p.num_output)
        for i in range(first, len(bottom)):
            if bottom[i] != state:
                raise self._wrong_shape(i, bottom[i], f"{state}")

    def _wrong_shape(self, index: int, shape: Shape, wanted: str) -> OpError:
        return OpError(
            "bottom-shapes",
            f"layer `{self.layer.name}` needs bottom {index} "
            f"(`{self.layer.bottoms[index].name}`) of shape {wanted}, not {shape}",
            field="bottom",
            index=index,
            help="sequences are time-major: (time steps, streams, ...)",
        )

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        """The order in which FillUnrolledNet first names each parameter."""
        units: int = self.p.num_output
        width = self.gates * units
        static = [(width, _values(bottom[2][1:]))] if self._has_static else []
        return [(width, _values(bottom[0][2:])), (width,), *static, (width, units)]

    def multiply_adds(self, bottom: Sequence[Shape], top: Sequence[Shape]) -> int:
        """All weights at each step of each stream; a static input is seen once."""
        time, streams = bottom[0][:2]
        matrices = [shape for shape in self.param_shapes(bottom) if len(shape) == 2]
        static = count(matrices.pop(1)) if self._has_static else 0
        each_step = sum(map(count, matrices))
        return (streams or 0) * ((time or 0) * each_step + static)

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        wanted = [caffe_layout(len(shape)) for shape in bottom]
        wanted[0] = layout_to_flatten(given[0], 2)
        if self._has_static:
            wanted[2] = layout_to_flatten(given[2], 1)
        return LayoutPlan(wanted, [caffe_layout(len(shape)) for shape in top])

    def lower(self, k: Lowering) -> None:
        self.p.mark_read("debug_info")
        call_with: dict[str, Argument] = {}
        use = k.sharers.index(self.layer)
        if use and not self._exposed:
            call_with["use"] = use
        made = k.add_many(
            runtime("recurrent", self.layer.type),
            self.p.num_output,
            outputs=len(self.layer.tops),
            weights=self.weights(k),
            call_with=call_with,
            **self._arguments(k),
            **self.initializers(k),
        )
        k.output(*made)

    def _arguments(self, k: Lowering) -> dict[str, Argument]:
        if self._exposed:
            return {"expose_hidden": True}
        found: dict[str, Argument] = {}
        inputs = [layer.bottoms[0] for layer in k.sharers]
        streams = [k.shape_of(blob)[1] for blob in inputs]
        if None in streams or len(set(streams)) > 1:
            found["streams"] = max(k.shape_of(b, largest=True)[1] or 0 for b in inputs)
        if len(inputs) > 1:
            found["uses"] = len(inputs)
        return found

    def weights(self, k: Lowering) -> list[PlannedWeight]:
        """In the order of Caffe's blobs."""
        width = self.gates * self.p.num_output
        order = flat_segments(k.in_layouts[0], k.bottom[0], 2)
        found = [
            k.weight("kernel", 0, dense_kernel(width, order)),
            k.weight("bias", 1, IDENTITY),
        ]
        if self._has_static:
            order = flat_segments(k.in_layouts[2], k.bottom[2], 1)
            found.append(k.weight("static_kernel", 2, dense_kernel(width, order)))
        found.append(k.weight("recurrent_kernel", len(found), OI_TO_IO))
        return found

    def initializers(self, k: Lowering) -> dict[str, Argument]:
        """One for all weights; those of which the filler makes another have their own."""
        names = ["kernel", "recurrent"]
        blobs = [0, 2]
        if self._has_static:
            names.append("static")
            blobs = [0, 3, 2]
        found = self.filled(k, names, blobs)
        bias = initializer(self.p.bias_filler, k.params[1], f"{_PATH}.bias_filler")
        if bias != "zeros":
            found["bias_initializer"] = bias
        return found

    def filled(
        self, k: Lowering, names: Sequence[str], blobs: Sequence[int]
    ) -> dict[str, Argument]:
        """`weight_filler` for blobs, without what the first one's initializer says."""
        path = f"{_PATH}.weight_filler"
        made = [initializer(self.p.weight_filler, k.params[b], path) for b in blobs]
        return {
            f"{name}_initializer": own
            for i, (name, own) in enumerate(zip(names, made, strict=True))
            if own != (made[0] if i else "zeros")
        }


def _values(shape: Shape) -> int:
    return math.prod(dim or 1 for dim in shape)


@layer_op("LSTM")
class LSTM(RecurrentOp):
    """Gates in Caffe's order: input, forget, output, candidate (lstm_layer.cpp)."""

    keras = "caffe_runtime.recurrent.LSTM"
    states = 2
    gates = 4


@layer_op("RNN")
class RNN(RecurrentOp):
    """A tanh layer with recurrence, and one on top of it (rnn_layer.cpp)."""

    keras = "caffe_runtime.recurrent.RNN"
    states = 1
    gates = 1

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        units: int = self.p.num_output
        return [*super().param_shapes(bottom), (units, units), (units,)]

    def weights(self, k: Lowering) -> list[PlannedWeight]:
        found = super().weights(k)
        return [
            *found,
            k.weight("output_kernel", len(found), OI_TO_IO),
            k.weight("output_bias", len(found) + 1, IDENTITY),
        ]

    def initializers(self, k: Lowering) -> dict[str, Argument]:
        output = self.filled(k, ["kernel", "output"], [0, len(k.params) - 2])
        return super().initializers(k) | output


@layer_op("LSTMUnit")
class LSTMUnit(LayerOp):
    """c (1, N, D), gates (1, N, 4D) and cont (1, N) to c and h (lstm_unit_layer.cpp)."""

    messages = ()
    keras = "caffe_runtime.recurrent.LSTMUnit"
    bottoms = exactly(3)
    tops = exactly(2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        cell, gates, cont = bottom
        lead = (1, *cell[1:2])
        fits = len(cell) == 3 and len(gates) == 3 and len(cont) == 2
        if not fits or any(shape[:2] != lead for shape in bottom):
            raise self._wrong_shapes(bottom)
        if gates[2] != 4 * (cell[2] or 0):
            raise self._wrong_shapes(bottom)
        return [cell, cell]

    def _wrong_shapes(self, bottom: Sequence[Shape]) -> OpError:
        return OpError(
            "bottom-shapes",
            f"layer `{self.layer.name}` needs bottoms of shapes (1, streams, units), "
            f"(1, streams, 4 * units) and (1, streams), not {', '.join(map(str, bottom))}",
            field="bottom",
            help="they are the cell before, the gates, and where sequences go on",
        )

    def lower(self, k: Lowering) -> None:
        k.output(*k.add_many(runtime("recurrent", "LSTMUnit"), outputs=2))
