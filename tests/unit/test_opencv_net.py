"""What OpenCV's dnn module does unlike Caffe, and how `verify` gets Caffe's blobs of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe2k.ir.net import Net, Phase
from caffe2k.translation import translate
from caffe2k.verification.opencv_blobs import opencv_blobs
from caffe2k.verification.opencv_net import OpenCVNet
from caffe2k.verification.random_inputs import random_inputs
from caffe2k.weights.blob import Blob, CaffeModel, LayerBlobs
from caffe2k.weights.caffe_files import write_caffemodel
from caffe2k.weights.errors import WeightsError

LAYERS = Path(__file__).resolve().parents[1] / "conformance/layers"

INPUT = """
layer {{ name: "{name}" type: "Input" top: "{name}"
  input_param {{ shape {{ {dims} }} }} }}
"""


CUT = """
layer { name: "cut" type: "Slice" bottom: "data" top: "one" top: "two"
  slice_param { slice_point: 2 } }
"""


def net_of_test(folder: Path, text: str) -> Net:
    path = folder / "net.prototxt"
    path.write_text(text)
    return translate(path).net.phases[Phase.TEST]


def computed(net: Net, weights: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV reads no Caffe nets")
    return opencv_blobs(net, weights, inputs)


def other_weights(folder: Path) -> Path:
    """A caffemodel of a layer that no net here has: OpenCV asks for some file."""
    blob = Blob((1,), 1, load=lambda: np.ones(1, "float32"))
    path = folder / "other.caffemodel"
    write_caffemodel(
        path, CaffeModel("other", (LayerBlobs("other", "Bias", (blob,)),)), {}
    )
    return path


def test_axpy_multiplies_its_second_bottom(tmp_path: Path) -> None:
    shapes = {"a": (2, 3, 1, 1), "x": (2, 3, 4, 5), "y": (2, 3, 4, 5)}
    text = "".join(
        INPUT.format(name=name, dims=" ".join(f"dim: {size}" for size in shape))
        for name, shape in shapes.items()
    )
    text += 'layer { name: "sum" type: "Axpy" bottom: "a" bottom: "x" bottom: "y"\n'
    text += '  top: "sum" }\n'
    random = np.random.RandomState(0)
    inputs = {n: random.randn(*s).astype("float32") for n, s in shapes.items()}
    blobs = computed(net_of_test(tmp_path, text), other_weights(tmp_path), inputs)
    expected = inputs["a"] * inputs["x"] + inputs["y"]
    np.testing.assert_allclose(blobs["sum"], expected, rtol=1e-6, atol=1e-6)


def test_lrn_adds_its_k(tmp_path: Path) -> None:
    text = INPUT.format(name="data", dims="dim: 1 dim: 3 dim: 1 dim: 1")
    text += 'layer { name: "norm" type: "LRN" bottom: "data" top: "norm"\n'
    text += "  lrn_param { local_size: 3 alpha: 0.3 beta: 0.5 k: 2 } }\n"
    data = np.array([1, 2, 3], "float32").reshape(1, 3, 1, 1)
    net = net_of_test(tmp_path, text)
    blobs = computed(net, other_weights(tmp_path), {"data": data})
    squares = np.array([1 + 4, 1 + 4 + 9, 4 + 9])
    expected = [1, 2, 3] / np.sqrt(2 + 0.3 / 3 * squares)
    np.testing.assert_allclose(blobs["norm"].ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize("type", ["Convolution", "Deconvolution"])
def test_one_of_both_pads_is_one(type: str, tmp_path: Path) -> None:
    text = INPUT.format(name="data", dims="dim: 1 dim: 1 dim: 4 dim: 4")
    text += f'layer {{ name: "conv" type: "{type}" bottom: "data" top: "conv"\n'
    text += "  convolution_param { num_output: 1 kernel_size: 3 pad_w: 1 } }\n"
    net = net_of_test(tmp_path, text)
    blobs = [Blob((1, 1, 3, 3), 9, load=lambda: np.ones(9, "float32"))]
    blobs.append(Blob((1,), 1, load=lambda: np.zeros(1, "float32")))
    weights = tmp_path / "conv.caffemodel"
    layers = LayerBlobs("conv", type, tuple(blobs))
    write_caffemodel(weights, CaffeModel("net", (layers,)), {})
    data = np.ones((1, 1, 4, 4), "float32")
    (conv,) = net.layers[-1].tops
    assert computed(net, weights, {"data": data})["conv"].shape == net.shapes[conv]


def test_second_tops_are_those_that_were_computed(tmp_path: Path) -> None:
    # OpenCV gives the memory of a top that was not asked for to later layers.
    text = INPUT.format(name="data", dims="dim: 1 dim: 4 dim: 8 dim: 8")
    text += CUT
    for i, bottom in enumerate(["two", "b0", "b1", "b2"]):
        text += (
            f'layer {{ name: "b{i}" type: "AbsVal" bottom: "{bottom}" top: "b{i}" }}\n'
        )
        text += f'layer {{ name: "p{i}" type: "Power" bottom: "b{i}" top: "b{i}"\n'
        text += "  power_param { shift: -1 } }\n"
    data = np.random.RandomState(0).randn(1, 4, 8, 8).astype("float32")
    net = net_of_test(tmp_path, text)
    blobs = computed(net, other_weights(tmp_path), {"data": data})
    np.testing.assert_array_equal(blobs["one"], data[:, :2])
    np.testing.assert_array_equal(blobs["two"], data[:, 2:])


def test_a_layer_is_found_that_has_not_its_tops_name(tmp_path: Path) -> None:
    text = INPUT.format(name="data", dims="dim: 1 dim: 4")
    text += 'layer { name: "absolute" type: "AbsVal" bottom: "data" top: "size" }\n'
    data = np.array([[1, -2, 3, -4]], "float32")
    net = net_of_test(tmp_path, text)
    blobs = computed(net, other_weights(tmp_path), {"data": data})
    np.testing.assert_array_equal(blobs["size"], np.abs(data))


def test_a_copys_name_is_free(tmp_path: Path) -> None:
    text = INPUT.format(name="data", dims="dim: 1 dim: 4")
    text += CUT
    text += 'layer { name: "two/copy" type: "AbsVal" bottom: "two" top: "size" }\n'
    net = OpenCVNet(net_of_test(tmp_path, text), {"data": (1, 4)})
    assert net.makers == {"one": "cut", "two": "two/copy_2", "size": "two/copy"}


def test_detections_come_in_caffes_order() -> None:
    case = LAYERS / "ssd_head"
    net = translate(case / "net.prototxt").net.phases[Phase.TEST]
    with np.load(case / "io.npz") as npz:
        expected = npz["out/det"]
        inputs = {k[3:]: npz[k] for k in npz.files if k.startswith("in/")}
    blobs = computed(net, case / "weights.caffemodel", inputs)
    np.testing.assert_allclose(blobs["det"], expected, rtol=1e-4, atol=1e-5)


def test_regions_lie_in_the_image(tmp_path: Path) -> None:
    text = INPUT.format(name="features", dims="dim: 2 dim: 3 dim: 10 dim: 20")
    text += INPUT.format(name="rois", dims="dim: 50 dim: 5 dim: 1 dim: 1")
    text += (
        'layer { name: "pool" type: "ROIPooling" bottom: "features" bottom: "rois"\n'
    )
    text += '  top: "pool" roi_pooling_param { pooled_h: 2 pooled_w: 2\n'
    text += "  spatial_scale: 0.25 } }\n"
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    regions = random_inputs(translate(path))["rois"]
    assert regions.shape == (50, 5, 1, 1)
    number, x1, y1, x2, y2 = regions.reshape(50, 5).T
    assert set(number) == {0, 1}
    assert ((x1 >= 0) & (x2 >= x1) & (x2 < 80)).all()
    assert ((y1 >= 0) & (y2 >= y1) & (y2 < 40)).all()
    assert x2.max() > 40
    assert y2.max() > 20


def test_a_crash_of_opencv_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = tmp_path / "crashing.py"
    crashing.write_text("import os\nos.abort()\n")
    module = sys.modules["caffe2k.verification.opencv_blobs"]
    monkeypatch.setattr(module, "_PROCESS", crashing)
    text = INPUT.format(name="data", dims="dim: 1")
    text += 'layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }\n'
    net = net_of_test(tmp_path, text)
    with pytest.raises(WeightsError, match="it crashed with code -6"):
        computed(net, other_weights(tmp_path), {"data": np.zeros(1, "float32")})


def test_a_blob_whose_shape_alone_is_read_is_an_input_too(tmp_path: Path) -> None:
    text = "".join(
        INPUT.format(name=name, dims="dim: 1 dim: 2 " + f"dim: {size} " * 2)
        for name, size in (("data", 6), ("small", 4))
    )
    text += 'layer { name: "crop" type: "Crop" bottom: "data" bottom: "small"\n'
    text += '  top: "crop" crop_param { axis: 2 offset: 1 } }\n'
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    translation = translate(path)
    inputs = random_inputs(translation)
    net = translation.net.phases[Phase.TEST]
    blobs = computed(net, other_weights(tmp_path), inputs)
    assert np.array_equal(blobs["crop"], inputs["data"][:, :, 1:5, 1:5])
