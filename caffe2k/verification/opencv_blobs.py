"""Runs the Caffe net itself, by OpenCV's dnn module: a runtime independent of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2k.ir.net import Net
from caffe2k.verification.opencv_net import OpenCVNet
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
    deploy = OpenCVNet(net, {name: array.shape for name, array in inputs.items()})
    try:
        runtime = cv2.dnn.readNetFromCaffe(
            np.frombuffer(deploy.prototxt.encode(), "uint8"),
            np.fromfile(caffemodel, "uint8"),
        )
        # Fused layers would change the blobs between them.
        runtime.enableFusion(False)
        runtime.enableWinograd(False)
        for name in deploy.inputs:
            array = np.ascontiguousarray(inputs[name], "float32")
            runtime.setInput(array, name)
        # Some layers it calls like their tops.
        called = set(runtime.getLayerNames())
        results = runtime.forwardAndRetrieve(
            [maker if maker in called else top for top, maker in deploy.makers.items()]
        )
    except cv2.error as e:
        raise WeightsError(
            "opencv-refused",
            f"OpenCV can't run this net: {e.err}",
            help="compare with blobs of Caffe itself: see --recipe and --reference",
        ) from e
    blobs = zip(deploy.makers, results, strict=True)
    found = {name: np.asarray(outputs[0]) for name, outputs in blobs}
    for name, images in deploy.detections.items():
        found[name] = _in_caffes_order(found[name], images)
    return found


def _in_caffes_order(rows: NDArray[Any], images: int) -> NDArray[Any]:
    """DetectionOutput's rows (1, 1, N, 7), class by class in each image.

    OpenCV sorts an image's rows by score alone, and always gives keep_top_k of them, the
    last ones zero. (detection_output_layer.cpp, DetectionOutputLayer::Forward_cpu)
    """
    import numpy as np

    rows = rows.reshape(-1, 7)
    rows = rows[rows.any(axis=1)]
    if not len(rows):
        rows = np.full((images, 7), -1, "float32")
        rows[:, 0] = range(images)
    order = np.lexsort((-rows[:, 2], rows[:, 1], rows[:, 0]))
    return rows[order].reshape(1, 1, -1, 7)


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
