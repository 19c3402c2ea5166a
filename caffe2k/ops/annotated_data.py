"""AnnotatedData: images of a database with the boxes of the objects in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from caffe2k.codegen.data_layers import DataLayer, ReaderLayer, Transform
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes
from caffe2k.ops.data import Means, SourceOp
from caffe2k.ops.detection import set_fields
from caffe2k.ops.errors import OpError
from caffe2k.ops.registry import layer_op
from caffe2k.schema.message import Message

_MESSAGES = {
    "resize_param": "resize",
    "noise_param": "noise",
    "distort_param": "distort",
    "expand_param": "expand",
    "emit_constraint": "emit",
}
"""Messages of transform_param -> arguments of the runtime's AnnotatedTransformer."""


@layer_op("AnnotatedData")
class AnnotatedData(SourceOp):
    """Records of a database, cut by chance (weiliu89/caffe, annotated_data_layer.cpp).

    The label has as many rows as the images of a batch have boxes.
    """

    messages = ("annotated_data_param", "data_param", "transform_param")
    keras = "keras.Input, caffe_runtime.annotated_data"
    path = "data_param"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self._check()
        shapes = super().infer_shapes(bottom, data)
        if len(shapes) > 1 and len(shapes[1]) == 1:
            shapes[1] = (1, 1, None, 8)
        return shapes

    def record_shapes(self) -> list[Shape] | None:
        p = self.layer.message.transform_param
        size = self._crop() or (p.resize_param.height, p.resize_param.width)
        if 0 in size:
            return None
        channels = len(p.mean_value) if len(p.mean_value) > 1 else 3
        return [(channels, *size), ()]

    def reader(self, means: Means) -> DataLayer:
        # As in Data, no layer of Caffe reads these; the label map is not looked at.
        self.p.mark_read("rand_skip", "force_encoded_color")
        own = self.layer.message.annotated_data_param
        own.mark_read("label_map_file")
        settings = {"backend": self.p.backend}
        if own.has("anno_type"):
            settings["anno_type"] = own.anno_type
        given = self._settings()
        return ReaderLayer(
            "annotated_data",
            "AnnotatedReader",
            self.tops_named(),
            self.source(),
            self.p.batch_size,
            settings,
            self._annotated_transform(means, given),
            draws=bool(given),
            prefetch=self.p.prefetch,
            varies=self.tops_named()[1:],
        )

    def _annotated_transform(self, means: Means, given: dict[str, Any]) -> Transform:
        common = self.transform(means)
        crops = common.crops or "crop" in given
        return replace(
            common,
            settings={**common.settings, **given},
            crops=crops,
            module="annotated_images",
            name="AnnotatedTransformer",
        )

    def _settings(self) -> dict[str, Any]:
        """What only this layer's transformer takes."""
        p, found = self.layer.message.transform_param, dict[str, Any]()
        if not p.crop_size and self._crop() is not None:
            found["crop"] = self._crop()
        for field, name in _MESSAGES.items():
            if p.has(field):
                found[name] = set_fields(getattr(p, field))
        for name in ("resize", "noise"):
            # Caffe has this field, and reads it nowhere.
            found.get(name, {}).pop("prob", None)
        samplers = self.layer.message.annotated_data_param.batch_sampler
        if samplers:
            found["samplers"] = [set_fields(sampler) for sampler in samplers]
        return found

    def _crop(self) -> tuple[int, int] | None:
        p = self.layer.message.transform_param
        size = (p.crop_size or p.crop_h, p.crop_size or p.crop_w)
        return size if any(size) else None

    def _check(self) -> None:
        """What Caffe refuses, and what has no size that is known before."""
        p, crop = self.layer.message.transform_param, self._crop()
        if crop is not None and 0 in crop:
            raise _wrong("crop_h and crop_w must be set together", "crop_h")
        if p.has("resize_param"):
            self._check_resize(p.resize_param, crop is not None)
        if p.has("expand_param"):
            if p.expand_param.max_expand_ratio <= 1:
                raise _wrong(
                    "max_expand_ratio must be above 1", "expand_param.max_expand_ratio"
                )
            if p.has("mean_file"):
                raise _wrong(
                    "expand_param fills with mean_value, not from a mean_file",
                    "mean_file",
                )
        if p.noise_param.convert_to_lab:
            raise _wrong(
                "Caffe reads the floating-point numbers of convert_to_lab as bytes",
                "noise_param.convert_to_lab",
            )
        pepper = p.noise_param.saltpepper_param
        if p.noise_param.saltpepper and not pepper.value:
            raise _wrong("saltpepper needs a value", "noise_param.saltpepper")
        self._check_distortion(p.distort_param)
        for index, batch_sampler in enumerate(
            self.layer.message.annotated_data_param.batch_sampler
        ):
            self._check_sampler(batch_sampler.sampler, index)

    def _check_resize(self, resize: Message, cropped: bool) -> None:
        if min(resize.height, resize.width) < 1:
            raise _wrong("resize_param needs a height and a width", "resize_param")
        if resize.resize_mode != "FIT_SMALL_SIZE":
            return
        if self.p.batch_size != 1:
            raise _wrong(
                "FIT_SMALL_SIZE takes batch_size: 1", "resize_param.resize_mode"
            )
        if not cropped:
            raise OpError(
                "annotated-data",
                "FIT_SMALL_SIZE gives images of different sizes, and a Keras model "
                "with priors takes one",
                field="transform_param.resize_param.resize_mode",
                help="add crop_size, or use WARP or FIT_LARGE_SIZE_AND_PAD",
            )

    def _check_distortion(self, distort: Message) -> None:
        for name in ("contrast", "saturation"):
            lower = getattr(distort, f"{name}_lower")
            upper = getattr(distort, f"{name}_upper")
            if getattr(distort, f"{name}_prob") > 0 and not 0 <= lower <= upper:
                raise _wrong(
                    f"{name}_lower must lie between 0 and {name}_upper",
                    f"distort_param.{name}_lower",
                )
        for name in ("brightness", "hue"):
            if getattr(distort, f"{name}_delta") < 0:
                raise _wrong(
                    f"{name}_delta must be at least 0", f"distort_param.{name}_delta"
                )

    def _check_sampler(self, sampler: Message, index: int) -> None:
        """SampleBBox (sampler.cpp)."""
        ranges = {
            "scale": (sampler.min_scale, sampler.max_scale, 1.0),
            "aspect_ratio": (
                sampler.min_aspect_ratio,
                sampler.max_aspect_ratio,
                float("inf"),
            ),
        }
        for name, (least, most, limit) in ranges.items():
            if not 0 < least <= most <= limit:
                raise OpError(
                    "annotated-data",
                    f"a sampler has {name} from {least:g} to {most:g}",
                    field="annotated_data_param.batch_sampler",
                    index=index,
                    help="it must be above 0 and rise; a scale is at most 1",
                )


def _wrong(what: str, field: str) -> OpError:
    return OpError(
        "annotated-data",
        what,
        field=f"transform_param.{field}",
        help="change it, or remove it",
    )
