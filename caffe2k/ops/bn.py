"""BN: what SegNet and PSPNet each made of batch normalization under one name."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Target, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import Count, DataShapes, ElementwiseOp, LayoutPlan
from caffe2k.ops.errors import OpError, not_images
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.schema.message import Message
from caffe2k.weights.transforms import Reshape, Steps, reorder_axis

_FCN = ("var_eps", "moving_average", "decay", "across_spatial")
_SEGNET = ("bn_mode", "scale_filler", "shift_filler", *_FCN)
_PSPNET = ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine")


@layer_op("BN")
class BN(ElementwiseOp):
    """Normalization with a learned scale and shift; the fields that are set tell whose.

    PSPNet's has running statistics (hszhao/PSPNet, bn_layer.cpp), and is taken where no
    field tells. SegNet's has none: it uses the batch's in both phases, or, with
    `bn_mode: INFERENCE`, none at all (alexgkendall/caffe-segnet, bn_layer.cpp). The fcn
    branch of weiliu89/caffe has SegNet's with another epsilon. In these two a backward
    pass overwrites the gradients of scale and shift, so that of `iter_size` passes the
    last one counts; here they add up.
    """

    keras = "BatchNormalization, caffe_runtime.bn.BN, caffe_runtime.elementwise.Scale"
    tops = Count(1, 3)
    phase_dependent = ("bn_param.frozen",)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p: Message = layer.message.bn_param
        set_here = {name for name, _ in self.p.entries()}
        self.is_segnet = not set_here.isdisjoint(_SEGNET)
        self.is_fcn = not set_here.isdisjoint(_FCN)
        self.is_mixed = self.is_segnet and not set_here.isdisjoint(_PSPNET)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self._check(bottom[0])
        statistics: Shape = (1, bottom[0][1], 1, 1)
        return [bottom[0], *[statistics] * (len(self.layer.tops) - 1)]

    def _check(self, bottom: Shape) -> None:
        name = self.layer.name
        if self.is_mixed:
            raise OpError(
                "mixed-bn",
                f"layer `{name}` sets fields of SegNet's BN and of PSPNet's",
                field="bn_param",
                help="scale_filler, shift_filler and bn_mode are SegNet's; slope_filler, "
                "bias_filler, momentum, eps and frozen are PSPNet's",
            )
        if len(bottom) != 4 and (self.is_segnet or not 2 <= len(bottom) <= 4):
            raise not_images(self.layer, bottom)
        if len(self.layer.tops) > 1 and not self._takes_statistics:
            raise OpError(
                "top-count",
                f"layer `{name}` takes no statistics of the batch that its other tops "
                "could be",
                field="top",
                index=1,
                help="remove the tops but the first",
            )
        if self.is_fcn:
            self._check_fcn()

    @property
    def _takes_statistics(self) -> bool:
        return self.is_segnet and bool(self.p.bn_mode == "LEARN")

    def _check_fcn(self) -> None:
        """The settings whose statistics no caffemodel holds, or that differ by place."""
        for field, needed in (("moving_average", False), ("across_spatial", True)):
            if getattr(self.p, field) is not needed:
                raise OpError(
                    "unsupported-option",
                    f"`{field}: {str(not needed).lower()}` of layer `{self.layer.name}` "
                    "is not supported",
                    field=f"bn_param.{field}",
                    help="BatchNorm and Scale layers keep running statistics",
                )
        self.p.mark_read("decay")

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        return [(1, bottom[0][1], 1, 1)] * (2 if self.is_segnet else 4)

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        first = given[0] if len(top) == 1 else form.spatial(4)
        return LayoutPlan([first], [first, *[form.spatial(4)] * (len(top) - 1)])

    def lower(self, k: Lowering) -> None:
        layout = k.in_layouts[0]
        channels = k.params[0][1] or 0
        steps: Steps = (
            Reshape((channels,)),
            *reorder_axis((channels,), 0, layout.order),
        )
        axis = layout.keras_axis(1)
        if self.is_segnet:
            self._lower_segnet(k, axis, steps)
        else:
            self._lower_pspnet(k, -1 if axis == layout.rank - 1 else axis, steps)

    def _lower_pspnet(self, k: Lowering, axis: int, steps: Steps) -> None:
        p = self.p
        p.mark_read("engine")
        arguments: dict[str, Argument] = {} if axis == -1 else {"axis": axis}
        arguments |= {"momentum": p.momentum, "epsilon": p.eps}
        arguments |= self._fillers(
            k, ("beta", "bias_filler"), ("gamma", "slope_filler")
        )
        if p.frozen:
            arguments["trainable"] = False
        elif k.trains:
            arguments["moving_variance_initializer"] = "zeros"
        weights = [
            k.weight("gamma", 0, steps, trainable=not p.frozen),
            k.weight("beta", 1, steps, trainable=not p.frozen),
            k.weight("moving_mean", 2, steps, trainable=False),
            k.weight("moving_variance", 3, steps, trainable=False),
        ]
        target = keras_layer("BatchNormalization")
        k.output(k.add(target, weights=weights, **arguments))

    def _lower_segnet(self, k: Lowering, axis: int, steps: Steps) -> None:
        weights = [k.weight("scale", 0, steps), k.weight("bias", 1, steps)]
        arguments: dict[str, Argument] = {}
        if self._takes_statistics:
            target: Target = runtime("bn", "BN")
            args: tuple[Argument, ...] = ()
            if self.is_fcn:
                arguments["epsilon"] = self.p.var_eps
            if axis != k.in_layouts[0].rank - 1:
                arguments["axis"] = axis
        else:
            self.p.mark_read("var_eps")
            target, args = runtime("elementwise", "Scale"), ([axis],)
            arguments["use_bias"] = True
        arguments |= self._fillers(
            k, ("scale", "scale_filler"), ("bias", "shift_filler")
        )
        count = len(self.layer.tops)
        if count > 1:
            arguments["return_statistics"] = True
        outputs = 3 if count > 1 else 1
        made = k.add_many(target, *args, outputs=outputs, weights=weights, **arguments)
        k.output(*made[:count])

    def _fillers(self, k: Lowering, *pairs: tuple[str, str]) -> dict[str, Argument]:
        """How the weights start, where that is not where they start in Keras."""
        found: dict[str, Argument] = {}
        for weight, field in pairs:
            filler = getattr(self.p, field)
            start = initializer(filler, k.params[0], f"bn_param.{field}", axis=())
            usual = "ones" if weight in ("gamma", "scale") else "zeros"
            if start != usual and (k.trains or self.p.has(field)):
                found[f"{weight}_initializer"] = start
        return found
