"""Shapes, parameters and multiply-adds of nets whose figures are well known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from caffe2k.cli import main
from caffe2k.layer_sizes import NetSizes, layer_sizes
from caffe2k.pipeline import Options
from tests.corpus.shapes import CORPUS, recorded
from tests.unit.nets import entry, layer

MODELS = CORPUS / "files" / "BVLC+caffe"


def sizes(tmp_path: Path, text: str) -> NetSizes:
    (tmp_path / "net.prototxt").write_text(text)
    return layer_sizes(tmp_path / "net.prototxt", Options())


def conv(name: str, bottom: str, outputs: int, kernel: int, more: str = "") -> str:
    param = f"num_output: {outputs} kernel_size: {kernel} {more}"
    return layer(name, "Convolution", bottom, name, f"convolution_param {{ {param} }}")


def pool(name: str, bottom: str, kernel: int, stride: int) -> str:
    param = f"pooling_param {{ kernel_size: {kernel} stride: {stride} }}"
    return layer(name, "Pooling", bottom, name, param)


def dense(name: str, bottom: str, outputs: int) -> str:
    param = f"inner_product_param {{ num_output: {outputs} }}"
    return layer(name, "InnerProduct", bottom, name, param)


def lenet() -> str:
    return (
        entry("data", 1, 1, 28, 28)
        + conv("conv1", "data", 20, 5)
        + pool("pool1", "conv1", 2, 2)
        + conv("conv2", "pool1", 50, 5)
        + pool("pool2", "conv2", 2, 2)
        + dense("ip1", "pool2", 500)
        + dense("ip2", "ip1", 10)
    )


def alexnet() -> str:
    return (
        entry("data", 1, 3, 227, 227)
        + conv("conv1", "data", 96, 11, "stride: 4")
        + pool("pool1", "conv1", 3, 2)
        + conv("conv2", "pool1", 256, 5, "pad: 2 group: 2")
        + pool("pool2", "conv2", 3, 2)
        + conv("conv3", "pool2", 384, 3, "pad: 1")
        + conv("conv4", "conv3", 384, 3, "pad: 1 group: 2")
        + conv("conv5", "conv4", 256, 3, "pad: 1 group: 2")
        + pool("pool5", "conv5", 3, 2)
        + dense("fc6", "pool5", 4096)
        + dense("fc7", "fc6", 4096)
        + dense("fc8", "fc7", 1000)
    )


def vgg16() -> str:
    text, bottom = entry("data", 1, 3, 224, 224), "data"
    for stage, (outputs, number) in enumerate(
        [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1
    ):
        for i in range(1, number + 1):
            text += conv(f"conv{stage}_{i}", bottom, outputs, 3, "pad: 1")
            bottom = f"conv{stage}_{i}"
        text += pool(f"pool{stage}", bottom, 2, 2)
        bottom = f"pool{stage}"
    return (
        text
        + dense("fc6", bottom, 4096)
        + dense("fc7", "fc6", 4096)
        + dense("fc8", "fc7", 1000)
    )


@pytest.mark.parametrize(
    ("text", "values", "macs"),
    [
        (lenet(), 431_080, 2_293_000),
        (alexnet(), 60_965_224, 724_406_816),
        (vgg16(), 138_357_544, 15_470_264_320),
    ],
    ids=["lenet", "alexnet", "vgg16"],
)
def test_known_nets(tmp_path: Path, text: str, values: int, macs: int) -> None:
    found = sizes(tmp_path, text)
    assert (found.values, found.macs, found.batch) == (values, macs, 1)


@pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the public nets are not here; they aren't ours to ship"
)
@pytest.mark.parametrize(
    ("name", "values", "macs"),
    [
        # With 10 images a batch.
        ("bvlc_alexnet", 60_965_224, 7_244_068_160),
        ("bvlc_googlenet", 6_998_552, 15_826_718_720),
        ("bvlc_reference_caffenet", 60_965_224, 7_244_068_160),
    ],
)
def test_public_nets(name: str, values: int, macs: int) -> None:
    found = layer_sizes(MODELS / f"models__{name}__deploy.prototxt", Options())
    assert (found.values, found.macs, found.batch) == (values, macs, 10)


def test_the_batch_counts(tmp_path: Path) -> None:
    text = entry("data", 4, 3, 8, 8) + conv("c", "data", 5, 3)
    assert sizes(tmp_path, text).macs == 4 * 5 * 6 * 6 * 3 * 3 * 3


def test_deconvolution_in_groups(tmp_path: Path) -> None:
    param = "convolution_param { num_output: 6 kernel_size: 4 stride: 2 group: 3 }"
    text = entry("data", 2, 3, 5, 7) + layer("d", "Deconvolution", "data", "d", param)
    found = sizes(tmp_path, text).layers[1]
    assert found.tops == {"d": (2, 6, 12, 16)}
    assert found.params == [(3, 2, 4, 4), (6,)]
    assert found.macs == 2 * 3 * 5 * 7 * 2 * 4 * 4


@pytest.mark.parametrize(
    ("kind", "each_step", "static"),
    [
        ("LSTM", 4 * 8 * (6 + 8), 4 * 8 * 3),
        ("RNN", 8 * (6 + 8 + 8), 8 * 3),
    ],
)
def test_recurrent(tmp_path: Path, kind: str, each_step: int, static: int) -> None:
    inputs = entry("x", 5, 2, 6) + entry("cont", 5, 2) + entry("s", 2, 3)
    param = "recurrent_param { num_output: 8 }"
    plain = inputs + layer("r", kind, "x cont", "r", param)
    assert sizes(tmp_path, plain).macs == 5 * 2 * each_step
    given = inputs + layer("r", kind, "x cont s", "r", param)
    assert sizes(tmp_path, given).macs == 2 * (5 * each_step + static)


def test_shared_parameters_count_once(tmp_path: Path) -> None:
    names = 'param { name: "w" } param { name: "b" } '
    text = entry("x", 2, 6)
    for name in ("a", "b"):
        param = names + "inner_product_param { num_output: 4 }"
        text += layer(name, "InnerProduct", "x", name, param)
    found = sizes(tmp_path, text)
    assert [layer.params for layer in found.layers[1:]] == [[(4, 6), (4,)]] * 2
    assert (found.values, found.macs) == (4 * 6 + 4, 2 * 2 * 4 * 6)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["layers", *arguments])


def test_table(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(
        entry("data", 2, 3, 8, 8)
        + conv("c", "data", 1000, 3)
        + layer("r", "ReLU", "c", "c", "")
    )
    done = run("--net", str(net))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "layer  type         tops                parameters              multiply-adds\n"
        "data   Input        data 2 x 3 x 8 x 8\n"
        "c      Convolution  c 2 x 1000 x 6 x 6  1000 x 3 x 3 x 3, 1000      1,944,000\n"
        "r      ReLU         c 2 x 1000 x 6 x 6\n"
        "\n"
        "3 layers, 28,000 parameters, 1,944,000 multiply-adds (972,000 for each of 2)\n"
    )


def test_json_and_a_data_layer(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" '
        'data_param { source: "none" batch_size: 4 } }' + dense("ip", "data", 3)
    )
    done = run("--net", str(net), "--json", "--input-shape", "data=4,1,2,2")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == [
        {
            "name": "d",
            "type": "Data",
            "tops": {"data": [4, 1, 2, 2], "label": [4]},
            "params": [],
            "macs": 0,
        },
        {
            "name": "ip",
            "type": "InnerProduct",
            "tops": {"ip": [4, 3]},
            "params": [[3, 4], [3]],
            "macs": 48,
        },
    ]


def test_phases(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    data = entry("data", 1, 2)
    net.write_text(
        data + dense("t", "data", 3).replace("{", "{ include { phase: TRAIN } ", 1)
    )
    assert "InnerProduct" not in run("--net", str(net)).stdout
    assert "InnerProduct" in run("--net", str(net), "--phase", "TRAIN").stdout


def test_what_keras_cannot_say_has_sizes_too(tmp_path: Path) -> None:
    """A label that the net computes: no metric of Keras can measure against it."""
    text = entry("x", 2, 4, 1, 1)
    text += layer("best", "ArgMax", "x", "best", "argmax_param { axis: 1 }")
    text += layer("op", "Accuracy", "x best", "out", "")
    assert sizes(tmp_path, text).layers[-1].tops == {"out": ()}


def test_mistakes_are_told(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(entry("data", 1, 3, 4, 4) + conv("c", "data", 8, 5))
    done = run("--net", str(net))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "kernel-too-large" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--json"], ["--phase", "TEST"], ["--input-shape", "data=1,2"]]
)
def test_options_of_a_net(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.exit_code, "--net" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "record",
    [r for r in recorded() if r.id.endswith("deploy.prototxt:TEST")][:40],
    ids=lambda r: r.id,
)
def test_shapes_are_caffes(record: object) -> None:
    found = layer_sizes(record.path, record.options())  # type: ignore[attr-defined]
    ours = {name: s for layer in found.layers for name, s in layer.tops.items()}
    caffes = record.blobs.items()  # type: ignore[attr-defined]
    assert ours == {name: s for name, s in caffes if "_split_" not in name}
