"""Runs the Caffe net itself, by OpenCV's dnn module: a runtime independent of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2k.ir.net import Net
from caffe2k.verification.opencv_net import OpenCVNet
from caffe2k.weights.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PROCESS = Path(__file__).with_name("opencv_process.py")


def opencv_blobs(
    net: Net, caffemodel: Path, inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Every blob that OpenCV computes for the TEST net, in Caffe's axis order.

    Losses, metrics and data layers are left out: `inputs` stand for the latter. Raises
    WeightsError where OpenCV is missing, too new, or can't run the net.
    """
    _require_opencv()
    deploy = OpenCVNet(net, {name: array.shape for name, array in inputs.items()})
    with tempfile.TemporaryDirectory(prefix="caffe2k-") as folder:
        found = _run(Path(folder), deploy, caffemodel, inputs)
    for name, images in deploy.detections.items():
        found[name] = _in_caffes_order(found[name], images)
    return found


def _run(
    folder: Path,
    deploy: OpenCVNet,
    caffemodel: Path,
    inputs: Mapping[str, NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    import numpy as np

    (folder / "net.prototxt").write_bytes(deploy.prototxt.encode())
    given = (np.ascontiguousarray(inputs[name], "float32") for name in deploy.inputs)
    np.savez(folder / "inputs.npz", *given)
    request = {
        "caffemodel": str(caffemodel.resolve()),
        "inputs": list(deploy.inputs),
        "wanted": list(deploy.makers.items()),
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, _PROCESS, folder], capture_output=True, check=False
    )
    refused = folder / "refused.txt"
    if refused.exists():
        raise _refusal(refused.read_text(encoding="utf-8"))
    if done.returncode:
        raise _refusal(f"it crashed with code {done.returncode}")
    with np.load(folder / "blobs.npz") as blobs:
        return dict(zip(deploy.makers, blobs.values(), strict=True))


def _refusal(reason: str) -> WeightsError:
    return WeightsError(
        "opencv-refused",
        f"OpenCV can't run this net: {reason}",
        help="compare with blobs of Caffe itself: see --recipe and --reference",
    )


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


def _require_opencv() -> None:
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
