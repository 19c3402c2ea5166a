"""blobs.py for a deploy net; predict.py where it classifies images, with the transform of
its training net."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from caffe2k.codegen.predict_script import (
    ImageTransform,
    blob_call,
    blobs_script,
    predict_script,
)
from caffe2k.codegen.program import Call
from caffe2k.diagnostics import Diagnostics, SourceSpan, TranslationError
from caffe2k.ir.net import Phase, Shape
from caffe2k.ops.data import place
from caffe2k.passes.blob_places import blob_places
from caffe2k.passes.select import select_layers, state_of
from caffe2k.pipeline import TranslatedNet
from caffe2k.prototxt.read import read_net
from caffe2k.prototxt.upgrade import upgrade
from caffe2k.schema.message import Message

_CLASSIFY_SIZE = 256
"""What python/classify.py resizes images to, unless it is told otherwise."""

_MOST_NETS = 10
"""How many prototxts of a folder are looked at."""


class PortedMeans(Protocol):
    """Takes mean files along into the output."""

    def port(self, path: str, span: SourceSpan | None) -> str:
        """The name under which a mean lies beside the scripts."""

    def size(self, name: str) -> tuple[int, int] | None:
        """Height and width of a mean that was ported; None where its file is not here."""


def predict_scripts(
    net: TranslatedNet,
    net_name: str,
    folder: Path,
    weights_file: str | None,
    means: PortedMeans,
) -> dict[str, str]:
    """blobs.py for a net without losses and metrics, and predict.py.

    The latter needs one image in and one score a class out; mean, scale and size come
    from the net in `folder` that was trained.
    """
    program = net.whole.program
    if Phase.TRAIN in net.phases or program.losses or program.metrics:
        return {}
    blobs = blob_calls(net)
    if not blobs:
        return {}
    scripts = {"blobs.py": blobs_script(net_name, blobs)}
    shape = _image_shape(net)
    if shape is None:
        return scripts
    message = _training_layer(net.message, folder)
    transform = ImageTransform() if message is None else _transform(message, means)
    sides = [side for side in shape[1:] if side is not None]
    if transform.resize is None and all(
        _CLASSIFY_SIZE * 3 // 4 < side < _CLASSIFY_SIZE for side in sides
    ):
        transform = replace(
            transform,
            resize=(_CLASSIFY_SIZE, _CLASSIFY_SIZE),
            resize_source="as Caffe's classify.py does",
        )
    scripts["predict.py"] = predict_script(
        net_name,
        shape,
        transform,
        list(blobs),
        weights_file,
        channels_last=net.whole.form.is_channels_last,
    )
    return scripts


def blob_calls(net: TranslatedNet) -> dict[str, Call]:
    """Blob -> the Blob of caffe_runtime.blobs that finds it in the model of one phase."""
    writers = _in_place_writers(net)
    return {
        name: blob_call(p.layer, p.use, p.output, p.layout, writers.get(name, ()))
        for name, p in blob_places(net.whole).items()
    }


def _image_shape(net: TranslatedNet) -> Shape | None:
    """The (C, H, W) of the only input of a classifier; None for any other deploy net."""
    program = net.whole.program
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        return None
    shapes = {blob.name: shape for blob, shape in net.net.shapes.items()}
    image = shapes[program.inputs[0].blob]
    scores = shapes.get(program.outputs[0].key, ())
    if len(image) != 4 or image[1] not in (1, 3) or None in image[1:]:
        return None
    is_score = len(scores) in (2, 4) and all(size == 1 for size in scores[2:])
    return image[1:] if is_score and scores[1] != 1 else None


def _in_place_writers(net: TranslatedNet) -> dict[str, list[str]]:
    """Blob -> the layers that wrote it in place."""
    (phase,) = net.phases.values()
    writers: dict[str, list[str]] = {}
    for layer in phase.layers:
        inside = {blob.name for blob in layer.bottoms}
        for top in layer.tops:
            if top.name in inside:
                writers.setdefault(top.name, []).append(layer.name)
    return writers


def _training_layer(net: Message, folder: Path) -> Message | None:
    """The data layer of the net that was trained, from a file such as train_val.prototxt.

    That has at least half of the net's layers. What else is wrong in the folder is of no
    interest here.
    """
    own = {(layer.name, layer.type) for layer in net.layer}
    found: list[tuple[int, Message]] = []
    for path in sorted(folder.glob("*train*.prototxt"))[:_MOST_NETS]:
        ignored = Diagnostics()
        try:
            other = upgrade(read_net(path, ignored), ignored)
            state = state_of(other, Phase.TEST)
            layers = [m for _, m in select_layers(other, state, ignored)]
        except TranslationError:
            continue
        common = len(own & {(layer.name, layer.type) for layer in layers})
        data = next((m for m in layers if m.has("transform_param")), None)
        if data is not None and 2 * common >= len(own):
            found.append((common, data))
    return max(found, key=lambda each: each[0], default=(0, None))[1]


def _transform(layer: Message, means: PortedMeans) -> ImageTransform:
    """The transform_param of a data layer, and the size that it resizes images to."""
    p = layer.transform_param
    transform = ImageTransform(scale=p.scale, scale_source=place(p.span_of("scale")))
    if p.has("mean_file"):
        span = p.span_of("mean_file")
        name = means.port(p.mean_file, span)
        transform = replace(transform, mean=name, mean_source=place(span))
        size = means.size(name)
        if size is not None:
            transform = replace(
                transform, resize=size, resize_source=f"the size of {name}"
            )
    elif p.has("mean_value"):
        values = tuple(p.mean_value)
        source = place(p.span_of("mean_value"))
        transform = replace(transform, mean=values, mean_source=source)
    images = layer.image_data_param
    if images.new_height and images.new_width:
        size = (images.new_height, images.new_width)
        source = place(images.span_of("new_height"))
        transform = replace(transform, resize=size, resize_source=source)
    return transform
