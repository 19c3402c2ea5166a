"""Which nets get a predict.py, and the transform that is found for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from caffe2k.codegen.formatting import format_python
from caffe2k.translation import translate

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

DATA = """\
layer {{ name: "data" type: "{type}" top: "data" top: "label"
  transform_param {{ {transform} }} {more} }}
"""
INPUT = """\
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: {channels} dim: {size} dim: {size} }} }} }}
"""
IP = """\
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 } }
layer { name: "relu" type: "ReLU" bottom: "ip" top: "ip" }
"""
PROB = 'layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }\n'
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" }\n'


def deploy(
    folder: Path, size: int = 8, channels: int = 3, rest: str = IP + PROB
) -> str:
    """The predict.py of a deploy.prototxt in a folder; "" where it gets none."""
    text = INPUT.format(channels=channels, size=size) + rest
    (folder / "deploy.prototxt").write_text(text)
    return translate(folder / "deploy.prototxt").scripts.get("predict.py", "")


def constants(script: str) -> list[str]:
    names = ("SHAPE", "RESIZE", "MEAN", "SCALE")
    lines = format_python(script).splitlines()
    return [line for line in lines if line.startswith(names)]


def test_a_net_alone(tmp_path: Path) -> None:
    assert constants(deploy(tmp_path)) == [
        "SHAPE = (3, 8, 8)  # the input: channels (B, G, R), height, width",
        "RESIZE = None  # the input's size",
        "MEAN = None  # none is known: see --mean",
        "SCALE = 1.0  # none is known: see --scale",
    ]


def test_an_input_for_256_pixels(tmp_path: Path) -> None:
    script = deploy(tmp_path, size=227)
    assert "RESIZE = (256, 256)  # as Caffe's classify.py does" in script


def test_mean_values_and_scale_of_the_training_net(tmp_path: Path) -> None:
    transform = "scale: 0.5\nmean_value: 104 mean_value: 117 mean_value: 123.5"
    size = "image_data_param { new_height: 9 new_width: 10 source: 'x' batch_size: 1 }"
    text = DATA.format(type="ImageData", transform=transform, more=size)
    (tmp_path / "lenet_train_test.prototxt").write_text(text + IP + LOSS)
    assert constants(deploy(tmp_path))[1:] == [
        "RESIZE = (9, 10)  # lenet_train_test.prototxt:3",
        'MEAN = "104,117,123.5"  # lenet_train_test.prototxt:3',
        "SCALE = 0.5  # lenet_train_test.prototxt:2",
    ]


def test_mean_and_size_of_a_mean_file(tmp_path: Path) -> None:
    for name in ("deploy.prototxt", "train_val.prototxt", "patches_mean.binaryproto"):
        shutil.copy(SAMPLES / "vgg_like" / name, tmp_path)
    translation = translate(tmp_path / "deploy.prototxt")
    script = translation.scripts["predict.py"]
    assert "RESIZE = (32, 32)  # the size of mean.npy" in script
    assert 'MEAN = str(Path(__file__).with_name("mean.npy"))' in script.replace(
        "'", '"'
    )
    assert "mean.npy" in translation.writers


@pytest.mark.parametrize(
    "text",
    [
        "layer {",
        'layer { name: "a" type: "Unheard" }',
        DATA.format(type="Data", transform="scale: 3", more=""),
    ],
)
def test_another_net_in_the_folder_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "train_val.prototxt").write_text(text)
    assert "SCALE = 1.0  # none is known" in deploy(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": 4},
        {
            "rest": 'layer { name: "conv" type: "Convolution" bottom: "data" top: "c"'
            " convolution_param { num_output: 4 kernel_size: 3 } }"
        },
        {"rest": IP.replace("5", "1")},
    ],
)
def test_what_is_no_classifier_of_images(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    assert deploy(tmp_path, **settings) == ""  # type: ignore[arg-type]


def test_blobs_that_were_written_in_place(tmp_path: Path) -> None:
    deploy(tmp_path)
    blobs = translate(tmp_path / "deploy.prototxt").scripts["blobs.py"]
    assert '"ip": Blob("ip", (0, 1), after=("relu",)),' in blobs.replace("'", '"')


def test_weights_that_were_ported_along_are_the_default() -> None:
    folder = SAMPLES / "vgg_like"
    weights = folder / "vgg_like_iter_200.caffemodel"
    script = translate(folder / "deploy.prototxt", weights=weights).scripts[
        "predict.py"
    ]
    assert 'default=Path(__file__).with_name("VGGLike.h5")' in script.replace("'", '"')
