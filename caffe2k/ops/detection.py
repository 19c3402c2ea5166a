"""DetectionOutput and DetectionEvaluate: what a detector found, and how good that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import Count, DataShapes, LayerOp, LayoutPlan, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import legacy_shape
from caffe2k.ops.registry import layer_op
from caffe2k.schema.message import Message


def set_fields(message: Message) -> dict[str, Any]:
    """What a message sets, by field; all of it counts as read."""
    found: dict[str, Any] = {}
    for name, entry in message.entries():
        value = entry.value
        if isinstance(value, Message):
            value = set_fields(value)
        if message.schema.fields[name].repeated:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    message.mark_read(*found)
    return found


class DetectorOp(LayerOp):
    """What the layers of SSD's head have in common: their settings and their rows."""

    path = ""

    def wrong(self, what: str, field: str, help: str) -> OpError:
        return OpError(
            "detection-settings",
            f"layer `{self.layer.name}` {what}",
            field=f"{self.path}.{field}" if field else self.path,
            help=help,
        )

    def check_num_classes(self) -> None:
        """LayerSetUp of all of them."""
        p = getattr(self.layer.message, self.path)
        if p.num_classes < 1:
            field = "num_classes" if p.has("num_classes") else ""
            raise self.wrong(
                "has no num_classes", field, "say how many, with the background"
            )

    def check_predictions(self, bottom: Sequence[Shape]) -> None:
        """Locations and confidences for each prior (Reshape)."""
        p = getattr(self.layer.message, self.path)
        locations, confidences, priors = (legacy_shape(shape) for shape in bottom[:3])
        if locations[0] != confidences[0]:
            raise self.bad_bottom(
                1,
                f"as many images as the locations, {locations[0]}, not",
                confidences[0],
            )
        if priors[2] is None:
            return
        count = priors[2] // 4
        numbers = {
            "locations": count * 4 * (1 if p.share_location else p.num_classes),
            "confidences": count * p.num_classes,
        }
        for index, (what, number) in enumerate(numbers.items()):
            if bottom[index][1] != number:
                raise self.bad_bottom(
                    index, f"{number} {what} for {count} priors, not", bottom[index][1]
                )

    def bad_bottom(self, index: int, wanted: str, given: object) -> OpError:
        return OpError(
            "bottom-shapes",
            f"layer `{self.layer.name}` needs {wanted} {given}",
            field="bottom",
            index=index,
            help="num_classes, the priors of each cell and num_output of the layers "
            "before it must agree",
        )

    def check_rows(self, index: int, shape: Shape, width: int) -> None:
        """Boxes as rows of numbers, (1, 1, rows, width)."""
        if len(shape) != 4 or (shape[0], shape[1], shape[3]) != (1, 1, width):
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` needs boxes of shape (1, 1, rows, {width}), "
                f"not {shape}",
                field="bottom",
                index=index,
                help="each row is a box",
            )

    def changed(self, defaults: dict[str, Argument]) -> dict[str, Argument]:
        """The layer's fields that are not what the Keras class takes without them."""
        p = getattr(self.layer.message, self.path)
        return {
            field: getattr(p, field)
            for field, default in defaults.items()
            if getattr(p, field) != default
        }


@layer_op("DetectionOutput")
class DetectionOutput(DetectorOp):
    """Decoding and suppression (weiliu89/caffe, detection_output_layer.cpp).

    How many rows there are, the values say; Caffe's Reshape makes it 1.
    """

    messages = ("detection_output_param", "transform_param")
    keras = "caffe_runtime.detection.DetectionOutput"
    path = "detection_output_param"
    bottoms = Count(3, 4)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_num_classes()
        nms = self.layer.message.detection_output_param.nms_param
        if nms.nms_threshold < 0:
            raise self.wrong(
                f"has nms_threshold: {nms.nms_threshold:g}",
                "nms_param.nms_threshold",
                "it must be at least 0",
            )
        if not 0 < nms.eta <= 1:
            raise self.wrong(
                f"has eta: {nms.eta:g}",
                "nms_param.eta",
                "it must be above 0, and at most 1",
            )
        self.check_predictions(bottom)
        return [(1, 1, 1, 7)]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        """The fourth bottom, an image to draw on, is not read."""
        inputs = [caffe_layout(len(shape)) for shape in bottom[:3]]
        return LayoutPlan([*inputs, *given[3:]], [form.boundary(4)])

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.detection_output_param
        arguments = self.changed(
            {
                "share_location": True,
                "background_label_id": 0,
                "code_type": "CORNER",
                "variance_encoded_in_target": False,
                "keep_top_k": -1,
            }
        )
        if p.has("confidence_threshold"):
            arguments["confidence_threshold"] = p.confidence_threshold
        if p.nms_param.nms_threshold != 0.3:
            arguments["nms_threshold"] = p.nms_param.nms_threshold
        if p.nms_param.has("top_k"):
            arguments["top_k"] = p.nms_param.top_k
        if p.nms_param.eta != 1:
            arguments["eta"] = p.nms_param.eta
        self._say_what_is_left_out(k)
        target = runtime("detection", "DetectionOutput")
        k.output(
            k.add(
                target,
                p.num_classes,
                inputs=k.inputs[:3],
                **arguments,
                **k.data_format(),
            )
        )

    def _say_what_is_left_out(self, k: Lowering) -> None:
        """The files and the window beside the top, which Keras does not make."""
        p = self.layer.message.detection_output_param
        save = p.save_output_param
        # LayerSetUp saves nothing where one of these is missing.
        needed = (save.output_directory, save.label_map_file, save.name_size_file)
        p.mark_read("save_output_param", "visualize_threshold", "save_file")
        # How an image is drawn back from what the net reads.
        self.layer.message.mark_read("transform_param")
        if all(needed):
            k.warn(
                OpError(
                    "no-output-file",
                    f"layer `{self.layer.name}` writes no files to "
                    f"`{save.output_directory}`: its rows are an output of the model",
                    field=f"{self.path}.save_output_param",
                    help="write what predict_on_batch() returns",
                )
            )
        if p.visualize:
            k.warn(
                OpError(
                    "no-window",
                    f"layer `{self.layer.name}` draws no detections: its rows are an "
                    "output of the model",
                    field=f"{self.path}.visualize",
                    help="draw what predict_on_batch() returns",
                )
            )


@layer_op("DetectionEvaluate")
class DetectionEvaluate(DetectorOp):
    """Right and wrong detections (weiliu89/caffe, detection_evaluate_layer.cpp)."""

    keras = "caffe_runtime.detection_evaluate.DetectionEvaluate"
    path = "detection_evaluate_param"
    bottoms = exactly(2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        p = self.layer.message.detection_evaluate_param
        self.check_num_classes()
        if p.overlap_threshold <= 0:
            raise self.wrong(
                f"has overlap_threshold: {p.overlap_threshold:g}",
                "overlap_threshold",
                "it must be above 0",
            )
        background = self._background()
        if background >= p.num_classes:
            raise self.wrong(
                f"has background_label_id: {background} of {p.num_classes} classes",
                "background_label_id",
                "classes count from 0",
            )
        self.check_rows(0, bottom[0], 7)
        self.check_rows(1, bottom[1], 8)
        detections = bottom[0][2]
        if detections is None:
            return [(1, 1, None, 5)]
        return [(1, 1, p.num_classes - (background >= 0) + detections, 5)]

    def _background(self) -> int:
        """The class that is not found; -1, as an unsigned field says it, for none."""
        given: int = self.layer.message.detection_evaluate_param.background_label_id
        return -1 if given == 2**32 - 1 else given

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return LayoutPlan([form.boundary(4)] * 2, [form.boundary(4)])

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.detection_evaluate_param
        arguments = self.changed(
            {"overlap_threshold": 0.5, "evaluate_difficult_gt": True}
        )
        if self._background() != 0:
            arguments["background_label_id"] = self._background()
        sizes = self._image_sizes(k)
        if sizes is not None:
            arguments["image_sizes"] = sizes
            if p.has("resize_param"):
                arguments["resize"] = set_fields(p.resize_param)
        p.mark_read("resize_param")
        target = runtime("detection_evaluate", "DetectionEvaluate")
        k.output(k.add(target, p.num_classes, **arguments, **k.data_format()))

    def _image_sizes(self, k: Lowering) -> str | None:
        """The name of the .npy file that holds what name_size_file says."""
        named: str = self.layer.message.detection_evaluate_param.name_size_file
        if not named:
            return None
        field = f"{self.path}.name_size_file"
        path = k.find_file(named)
        if path is None:
            k.warn(
                OpError(
                    "image-sizes",
                    f"`{named}` is not there: layer `{self.layer.name}` compares boxes as "
                    "parts of their images, not in pixels",
                    field=field,
                    help="put it where the prototxt says, and translate again",
                )
            )
            return None
        from caffe2k.weights.image_sizes import read_image_sizes

        sizes = read_image_sizes(path)
        if sizes is None:
            raise OpError(
                "image-sizes",
                f"`{named}` is no list of names, heights and widths",
                field=field,
                help="write `name height width` on a line for each image",
            )
        return k.add_array("image_sizes", sizes)
