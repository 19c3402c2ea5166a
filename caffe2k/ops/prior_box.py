"""PriorBox: the boxes that a detector starts from, which depend on shapes alone."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import legacy_shape
from caffe2k.ops.registry import layer_op


@layer_op("PriorBox")
class PriorBox(LayerOp):
    """Boxes around every cell of a map (weiliu89/caffe, prior_box_layer.cpp).

    Only the inputs' heights and widths matter: the boxes are a constant of the model.
    """

    keras = "caffe_runtime.prior_box.PriorBox"
    bottoms = exactly(2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self._check()
        _, _, height, width = legacy_shape(bottom[0])
        legacy_shape(bottom[1])
        if height is None or width is None:
            return [(1, 2, None)]
        return [(1, 2, height * width * self._count() * 4)]

    def _count(self) -> int:
        """How many boxes each cell has (LayerSetUp)."""
        p = self.layer.message.prior_box_param
        ratios = [1.0]
        for ratio in p.aspect_ratio:
            if all(abs(ratio - known) >= 1e-6 for known in ratios):
                ratios += [ratio, 1 / ratio][: 1 + p.flip]
        return len(ratios) * len(p.min_size) + len(p.max_size)

    def _check(self) -> None:
        """What LayerSetUp refuses."""
        p = self.layer.message.prior_box_param
        if not p.min_size:
            raise self._wrong("has no min_size", "", "give one for each box of a cell")
        for field in ("min_size", "aspect_ratio", "variance"):
            for index, value in enumerate(getattr(p, field)):
                if value <= 0:
                    raise self._wrong(
                        f"has {field}: {value:g}", field, "it must be above 0", index
                    )
        if p.max_size and len(p.max_size) != len(p.min_size):
            raise self._wrong(
                f"has {len(p.max_size)} max_size for {len(p.min_size)} min_size",
                "max_size",
                "give one for each min_size, or none",
            )
        for index, (least, most) in enumerate(
            zip(p.min_size, p.max_size, strict=False)
        ):
            if most <= least:
                raise self._wrong(
                    f"has max_size: {most:g} for min_size: {least:g}",
                    "max_size",
                    "it must be larger than the min_size of the same place",
                    index,
                )
        if len(p.variance) not in (0, 1, 4):
            raise self._wrong(
                f"has {len(p.variance)} variance",
                "variance",
                "give one for all coordinates of a box, or four",
            )
        self._pair("img_size", "img_h", "img_w")
        self._pair("step", "step_h", "step_w")

    def _pair(
        self, both: str, vertical: str, horizontal: str
    ) -> tuple[float, float] | None:
        """(vertical, horizontal), which one field or two may say; None where unset."""
        p = self.layer.message.prior_box_param
        apart = [f for f in (vertical, horizontal) if p.has(f)]
        if apart and p.has(both):
            raise self._wrong(
                f"has {both} and {apart[0]}", both, f"keep {both}, or the other two"
            )
        fields = (vertical, horizontal) if apart else (both, both)
        if not apart and not p.has(both):
            return None
        values: tuple[float, float] = (getattr(p, fields[0]), getattr(p, fields[1]))
        if min(values) <= 0:
            low = fields[values.index(min(values))]
            field = low if p.has(low) else apart[0]
            raise self._wrong(
                f"has {low}: {min(values):g}", field, "it must be above 0"
            )
        return values

    def _wrong(self, what: str, field: str, help: str, index: int = 0) -> OpError:
        return OpError(
            "prior-box",
            f"layer `{self.layer.name}` {what}",
            field=f"prior_box_param.{field}" if field else "prior_box_param",
            index=index,
            help=help,
        )

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return LayoutPlan([form.spatial(len(s)) for s in bottom], [form.boundary(3)])

    def lower(self, k: Lowering) -> None:
        p, arguments = self.layer.message.prior_box_param, dict[str, Argument]()
        for field in ("max_size", "aspect_ratio", "variance"):
            if getattr(p, field):
                arguments[field] = [_short(value) for value in getattr(p, field)]
        if not p.flip:
            arguments["flip"] = False
        if p.clip:
            arguments["clip"] = True
        image_size = self._pair("img_size", "img_h", "img_w")
        if image_size is not None:
            arguments["image_size"] = image_size
        step = self._pair("step", "step_h", "step_w")
        if step is not None:
            arguments["step"] = tuple(map(_short, step))
        if p.offset != 0.5:
            arguments["offset"] = p.offset
        target = runtime("prior_box", "PriorBox")
        sizes = [_short(size) for size in p.min_size]
        k.output(k.add(target, sizes, **arguments, **k.data_format()))


def _short(number: float) -> float:
    """2 rather than 2.0."""
    return int(number) if number == int(number) else number
