"""AbsVal, BNLL, Clip, ELU, Exp, Log, Swish, Threshold, ReLU6 and CReLU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from ctypes import c_float

from caffe2k.codegen.program import Argument, keras_layer, runtime
from caffe2k.ir.net import Shape
from caffe2k.ops.base import BackwardReads, DataShapes, ElementwiseOp
from caffe2k.ops.errors import OpError
from caffe2k.ops.joining import UnorderedOp
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within
from caffe2k.schema.message import Message


def _changed(p: Message, **defaults: float) -> dict[str, Argument]:
    """The settings of those names that differ from their defaults."""
    found = {name: getattr(p, name) for name in defaults}
    return {name: value for name, value in found.items() if value != defaults[name]}


@layer_op("AbsVal")
class AbsVal(ElementwiseOp):
    """|x| (absval_layer.cpp)."""

    messages = ()
    keras = "caffe_runtime.neurons.AbsVal"
    works_in_place = False

    def lower(self, k: Lowering) -> None:
        k.output(k.add(runtime("neurons", "AbsVal")))


@layer_op("BNLL")
class BNLL(ElementwiseOp):
    """log(1 + exp(x)) (bnll_layer.cpp)."""

    messages = ()
    keras = "Activation"

    @property
    def backward_reads(self) -> BackwardReads:
        return BackwardReads.ALWAYS if self.layer.in_place else BackwardReads.NOTHING

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        return "BNLL", {}

    def lower(self, k: Lowering) -> None:
        k.output(k.add(keras_layer("Activation"), "softplus"))


@layer_op("Clip")
class Clip(ElementwiseOp):
    """The value within [min, max] (clip_layer.cpp)."""

    keras = "caffe_runtime.neurons.Clip"

    @property
    def backward_reads(self) -> BackwardReads:
        return BackwardReads.ALWAYS if self.layer.in_place else BackwardReads.NOTHING

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        p = self.layer.message.clip_param
        return "Clip", {"min": p.min, "max": p.max}

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.clip_param
        k.output(k.add(runtime("neurons", "Clip"), p.min, p.max))


@layer_op("ELU")
class ELU(ElementwiseOp):
    """x above 0, alpha * (exp(x) - 1) below (elu_layer.cpp).

    `lambda` scales both (NVIDIA/caffe, elu_layer.cpp).
    """

    keras = "ELU, caffe_runtime.neurons.ELU"

    @property
    def activation(self) -> str | None:
        return None if self._settings() else "elu"

    def _settings(self) -> dict[str, Argument]:
        found = _changed(self.layer.message.elu_param, **{"alpha": 1, "lambda": 1})
        if "lambda" in found:
            found["scale"] = found.pop("lambda")
        return found

    @property
    def backward_reads(self) -> BackwardReads:
        p = self.layer.message.elu_param
        # The sign of the output is that of the input, as long as alpha is not negative.
        keeps_sign = p.alpha >= 0 and getattr(p, "lambda") > 0
        if self.layer.in_place and not keeps_sign:
            return BackwardReads.ALWAYS
        return BackwardReads.VALUE

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        return "ELU", self._settings()

    def lower(self, k: Lowering) -> None:
        settings = self._settings()
        stock = "scale" not in settings
        target = keras_layer("ELU") if stock else runtime("neurons", "ELU")
        k.output(k.add(target, **settings))


class _BasedOp(ElementwiseOp):
    """An op with a `base`, where -1 is e, and a `scale` and `shift` of its input.

    Caffe checks the base as the float32 that it holds (exp_layer.cpp and log_layer.cpp,
    LayerSetUp): 1.00000001 is 1, and 1e39 is infinite.
    """

    path = ""

    @property
    def p(self) -> Message:
        found: Message = getattr(self.layer.message, self.path)
        return found

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        base = c_float(self.p.base).value
        usable = base == -1 or 0 < base < math.inf
        if not usable or (base == 1 and self.layer.type == "Log"):
            raise OpError(
                "log-base",
                f"`base` of layer `{self.layer.name}` can't be {base:g}",
                field=f"{self.path}.base",
                help="it must be finite and above 0, and not 1 for a logarithm; -1 is e",
            )
        return super().infer_shapes(bottom, data)

    def _settings(self) -> dict[str, Argument]:
        return _changed(self.p, base=-1, scale=1, shift=0)

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        return self.layer.type, self._settings()

    def lower(self, k: Lowering) -> None:
        k.output(k.add(runtime("neurons", self.layer.type), **self._settings()))


@layer_op("Exp")
class Exp(_BasedOp):
    """base ** (shift + scale * x) (exp_layer.cpp)."""

    keras = "Activation, caffe_runtime.neurons.Exp"
    path = "exp_param"
    backward_reads = BackwardReads.VALUE

    @property
    def activation(self) -> str | None:
        return None if self._settings() else "exponential"

    def lower(self, k: Lowering) -> None:
        if self.activation is None:
            super().lower(k)
        else:
            k.output(k.add(keras_layer("Activation"), self.activation))


@layer_op("Log")
class Log(_BasedOp):
    """The logarithm of shift + scale * x (log_layer.cpp)."""

    keras = "caffe_runtime.neurons.Log"
    path = "log_param"

    @property
    def backward_reads(self) -> BackwardReads:
        return BackwardReads.ALWAYS if self.layer.in_place else BackwardReads.NOTHING


@layer_op("Swish")
class Swish(ElementwiseOp):
    """x * sigmoid(beta * x) (swish_layer.cpp)."""

    keras = "Activation, caffe_runtime.neurons.Swish"
    backward_reads = BackwardReads.VALUE

    @property
    def activation(self) -> str | None:
        return "silu" if self.layer.message.swish_param.beta == 1 else None

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        return "Swish", _changed(self.layer.message.swish_param, beta=1)

    def lower(self, k: Lowering) -> None:
        if self.activation is None:
            beta = self.layer.message.swish_param.beta
            k.output(k.add(runtime("neurons", "Swish"), beta))
        else:
            k.output(k.add(keras_layer("Activation"), self.activation))


@layer_op("Threshold")
class Threshold(ElementwiseOp):
    """1 above the threshold, else 0 (threshold_layer.cpp); it has no gradient."""

    keras = "caffe_runtime.neurons.Threshold"

    def lower(self, k: Lowering) -> None:
        settings = _changed(self.layer.message.threshold_param, threshold=0)
        k.output(k.add(runtime("neurons", "Threshold"), **settings))


@layer_op("ReLU6")
class ReLU6(ElementwiseOp):
    """A ReLU that ends at 6 (eric612/MobileNet-YOLO, relu6_layer.cpp)."""

    keras = "caffe_runtime.neurons.ReLU6"

    def _settings(self) -> dict[str, Argument]:
        return _changed(self.layer.message.relu6_param, negative_slope=0)

    @property
    def backward_reads(self) -> BackwardReads:
        if not self.layer.in_place:
            return BackwardReads.NOTHING
        if self.layer.message.relu6_param.negative_slope < 0:
            return BackwardReads.ALWAYS
        return BackwardReads.VALUE

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        return "ReLU6", self._settings()

    def lower(self, k: Lowering) -> None:
        k.output(k.add(runtime("neurons", "ReLU6"), **self._settings()))


@layer_op("CReLU")
class CReLU(UnorderedOp):
    """ReLU(x) and ReLU(-x) along `concat_axis` (Cambricon's fork, crelu_layer.cpp)."""

    keras = "caffe_runtime.neurons.CReLU"
    works_in_place = False

    def _axis(self, bottom: Shape) -> int:
        axis = self.layer.message.crelu_param.concat_axis
        return axis_within(axis, bottom, self.layer, "crelu_param.concat_axis")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        axis = self._axis(bottom[0])
        size = bottom[0][axis]
        doubled = None if size is None else 2 * size
        return [(*bottom[0][:axis], doubled, *bottom[0][axis + 1 :])]

    def lower(self, k: Lowering) -> None:
        settings = _changed(self.layer.message.crelu_param, negative_slope=0)
        axis = k.keras_axis(self._axis(k.bottom[0]))
        if axis != len(k.bottom[0]) - 1:
            settings["axis"] = axis
        k.output(k.add(runtime("neurons", "CReLU"), **settings))
