"""Runs the Caffe net itself, by OpenCV's dnn module: a runtime independent of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2k.ir.net import Layer, Net
from caffe2k.ops import find_op
from caffe2k.prototxt import to_prototxt
from caffe2k.schema.message import Entry, Message
from caffe2k.weights.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def opencv_blobs(
    net: Net, caffemodel: Path, inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Every blob that OpenCV computes for the TEST net, in Caffe's axis order.

    Losses, metrics and data layers are left out: `inputs` stand for the latter. Raises
    WeightsError where OpenCV is missing, too new, or can't run the net.
    """
    import numpy as np

    cv2 = _opencv()
    read = {blob.name for layer in _computed(net) for blob in layer.bottoms}
    inputs = {name: array for name, array in inputs.items() if name in read}
    text = deploy_text(net, {name: array.shape for name, array in inputs.items()})
    makers = _makers(net)
    try:
        runtime = cv2.dnn.readNetFromCaffe(
            np.frombuffer(text.encode(), "uint8"), np.fromfile(caffemodel, "uint8")
        )
        # Fused layers would change the blobs between them.
        runtime.enableFusion(False)
        runtime.enableWinograd(False)
        for name, array in inputs.items():
            runtime.setInput(np.ascontiguousarray(array, "float32"), name)
        results = runtime.forwardAndRetrieve([layer for layer, _ in makers.values()])
    except cv2.error as e:
        raise WeightsError(
            "opencv-refused",
            f"OpenCV can't run this net: {e.err}",
            help="compare with blobs of Caffe itself: see --recipe and --reference",
        ) from e
    return {
        name: np.asarray(outputs[index])
        for (name, (_, index)), outputs in zip(makers.items(), results, strict=True)
        if index < len(outputs)
    }


def _opencv() -> Any:
    help = "pip install 'caffe2k[verify]', or give blobs of Caffe itself by --reference"
    try:
        import cv2
    except ImportError as e:
        raise WeightsError(
            "opencv-missing", "OpenCV, the runtime to compare with, is not here", help
        ) from e
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise WeightsError(
            "opencv-missing",
            f"OpenCV {cv2.__version__} no longer reads Caffe nets; version 4 does",
            help,
        )
    # What it refuses is told by the exception.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def deploy_text(net: Net, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The TEST net as a deploy prototxt: inputs for data layers, no losses or metrics."""
    deploy = Message("NetParameter")
    for name, shape in shapes.items():
        deploy.add("layer", Entry(_input(name, shape)))
    for layer in _computed(net):
        deploy.add("layer", Entry(layer.message))
    return to_prototxt(deploy)


def _input(name: str, shape: tuple[int, ...]) -> Message:
    layer = Message("LayerParameter")
    layer.add("name", Entry(name))
    layer.add("type", Entry("Input"))
    layer.add("top", Entry(name))
    sizes = layer.child("input_param", None).child("shape", None)
    for size in shape:
        sizes.add("dim", Entry(size))
    return layer


def _computed(net: Net) -> Iterator[Layer]:
    for layer in net.layers:
        op = find_op(layer.type)
        assert op is not None
        if not (op.is_source or op.is_loss or op.is_metric) and layer.tops:
            yield layer


def _makers(net: Net) -> dict[str, tuple[str, int]]:
    """Blob -> the layer that writes it last, and which of its tops it is."""
    return {
        top.name: (layer.name, index)
        for layer in _computed(net)
        for index, top in enumerate(layer.tops)
    }
