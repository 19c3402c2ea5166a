"""predict.py and blobs.py: images in, classes or any blob out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from caffe2k.codegen.literals import literal
from caffe2k.codegen.program import Argument, Call, runtime
from caffe2k.codegen.templates import render
from caffe2k.ir.layout import Layout
from caffe2k.ir.net import Shape


@dataclass(frozen=True)
class Known:
    """A constant of predict.py as text, and where its value comes from."""

    name: str
    text: str
    source: str


@dataclass(frozen=True)
class ImageTransform:
    """What is done to an image before the net sees it, and the place that says so.

    `mean` is the values of a mean, one or one a channel, or the name of a .npy file
    beside the script. None and 1 are what a net without a transform_param has.
    """

    resize: tuple[int, int] | None = None
    resize_source: str = "the input's size"
    mean: tuple[float, ...] | str | None = None
    mean_source: str = "none is known: see --mean"
    scale: float = 1.0
    scale_source: str = "none is known: see --scale"

    def constants(self) -> tuple[Known, Known, Known]:
        """RESIZE, MEAN and SCALE."""
        if isinstance(self.mean, str):
            mean = f"str(Path(__file__).with_name({literal(self.mean)}))"
        elif self.mean is None:
            mean = "None"
        else:
            mean = literal(",".join(f"{value:g}" for value in self.mean))
        return (
            Known("RESIZE", literal(self.resize), self.resize_source),
            Known("MEAN", mean, self.mean_source),
            Known("SCALE", literal(self.scale), self.scale_source),
        )


@dataclass(frozen=True)
class PredictScript:
    """The whole context of templates/predict.py.j2."""

    net_name: str
    shape: Shape
    resize: Known
    mean: Known
    scale: Known
    example_blob: str
    weights_file: str | None
    data_format: str
    has_path: bool


@dataclass(frozen=True)
class BlobsScript:
    """The whole context of templates/blobs.py.j2."""

    net_name: str
    blobs: Mapping[str, Call]


def predict_script(
    net_name: str,
    shape: Shape,
    transform: ImageTransform,
    blobs: Sequence[str],
    weights_file: str | None,
    *,
    channels_last: bool,
) -> str:
    """The text of predict.py for an input of Caffe's `shape` (C, H, W)."""
    resize, mean, scale = transform.constants()
    return render(
        "predict.py.j2",
        PredictScript(
            net_name,
            shape,
            resize,
            mean,
            scale,
            blobs[-1],
            weights_file,
            "" if channels_last else ', data_format="channels_first"',
            weights_file is not None or isinstance(transform.mean, str),
        ),
    )


def blobs_script(net_name: str, blobs: Mapping[str, Call]) -> str:
    """The text of blobs.py."""
    return render("blobs.py.j2", BlobsScript(net_name, blobs))


def blob_call(
    layer: str, use: int, output: int, layout: Layout, after: Sequence[str]
) -> Call:
    """The Blob of caffe_runtime.blobs for a place in the model."""
    order = tuple((segment.dims, segment.perm) for segment in layout.order)
    axis = layout.ordered_axis if order else 1
    settings: dict[str, tuple[Argument, Argument]] = {
        "use": (use, 0),
        "output": (output, 0),
        "order": (order, ()),
        "order_axis": (axis, 1),
        "after": (tuple(after), ()),
    }
    changed = tuple((k, v) for k, (v, default) in settings.items() if v != default)
    return Call(runtime("blobs", "Blob"), (layer, layout.perm), changed)
