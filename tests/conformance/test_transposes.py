"""Where the emitted code transposes: only where no layout of the blobs avoids it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Phase
from caffe2k.pipeline import Options, translate_net
from caffe2k.prototxt import read_net, upgrade
from tests.conformance.suite import OWN
from tests.corpus.shapes import Recorded, recorded
from tests.unit.nets import dense, entry, layer

_ENDS = (
    "the case is this one layer: a blob enters and leaves the model in a fixed order"
)
_ROWS = "Dense takes the last axis, and the case has this one layer"
_ASKED = "the boxes' values have to lie in the order that Permute asks for"

UNAVOIDABLE = {
    "channels_last": {
        "conv_1d": (2, _ENDS),
        "flatten": (1, _ENDS),
        "flatten_middle": (1, _ENDS),
        "ip_axis2": (1, _ROWS),
        "ip_axis_minus1": (2, _ROWS),
        "reshape_axis": (1, _ENDS),
        "reshape_copy_infer": (2, _ENDS),
        "reshape_flat": (1, _ENDS),
        "spatial_softmax_reshape": (1, _ENDS),
        "ssd_permute": (1, _ENDS),
        "ssd_permute_back": (1, _ENDS),
    },
    "channels_first": {
        "ssd_head": (2, _ASKED),
        "ssd_permute": (1, _ENDS),
        "ssd_permute_back": (1, _ENDS),
        "ssd_permute_flatten": (1, _ASKED),
    },
}
"""How many there are in a case, and why."""

VIDEO = "files/PaddlePaddle+X2Paddle/test_benchmark__Caffe__TSM__TSM.prototxt"
"""Parts of clips that nobody reads leave the model, in the order of volumes."""


def transposes(net: Path, options: Options) -> list[str]:
    """The blobs that the emitted code transposes."""
    diagnostics = Diagnostics()
    message = upgrade(read_net(net, diagnostics), diagnostics)
    program = translate_net(message, net.parent, options, diagnostics).whole.program
    diagnostics.raise_if_errors()
    return [
        step.inputs[0].hint
        for step in program.steps
        if step.layer.call.target.name in ("Permute", "Transpose")
    ]


@pytest.mark.parametrize("form", UNAVOIDABLE)
def test_cases(form: str) -> None:
    folders = [p for p in (OWN / "layers").iterdir() if p.is_dir()]
    options = Options(Phase.TRAIN, form)
    found = Counter(
        {f.name: len(transposes(f / "net.prototxt", options)) for f in folders}
    )
    assert +found == {name: number for name, (number, _) in UNAVOIDABLE[form].items()}


@pytest.mark.parametrize("form", UNAVOIDABLE)
@pytest.mark.parametrize(
    "record", [r for r in recorded() if not r.dummies], ids=lambda r: r.id
)
def test_public_nets(record: Recorded, form: str) -> None:
    """Those that were made for deployment, so that their inputs stand in them."""
    found = transposes(record.path, Options(record.phase, form))
    if record.file == VIDEO and form == "channels_last":
        assert all(blob.startswith("split_blob") for blob in found)
    else:
        assert found == []


def shuffled(tmp_path: Path, text: str, form: str = "channels_last") -> list[str]:
    net = tmp_path / "net.prototxt"
    net.write_text(text)
    return transposes(net, Options(Phase.TEST, form))


def conv(name: str, bottom: str, kind: str = "Convolution") -> str:
    param = "convolution_param { num_output: 6 kernel_size: 1 }"
    return layer(name, kind, bottom, name, param)


def reshape(name: str, bottom: str, *dims: int, more: str = "") -> str:
    shape = " ".join(f"dim: {d}" for d in dims)
    param = f"reshape_param {{ shape {{ {shape} }} {more} }}"
    return layer(name, "Reshape", bottom, name, param)


IMAGE = entry("data", 2, 3, 4, 5)


def test_shuffled_channels_cost_one(tmp_path: Path) -> None:
    text = (
        IMAGE
        + conv("c", "data")
        + reshape("parts", "c", 0, 2, 3, 4, 5)
        + layer(
            "swap",
            "Permute",
            "parts",
            "swap",
            "permute_param { order: 0 order: 2 order: 1 }",
        )
        + reshape("joined", "swap", 0, -1, 4, 5)
        + conv("d", "joined")
    )
    assert len(shuffled(tmp_path, text)) == 1
    assert len(shuffled(tmp_path, text, "channels_first")) == 1


def test_class_scores_cost_none(tmp_path: Path) -> None:
    order = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
    text = (
        IMAGE
        + conv("c", "data")
        + layer("last", "Permute", "c", "last", order)
        + reshape("scores", "last", 0, -1, 3)
        + layer("prob", "Softmax", "scores", "prob", "softmax_param { axis: 2 }")
        + layer("flat", "Flatten", "prob", "flat")
    )
    assert shuffled(tmp_path, text) == []


def test_images_of_a_clip_cost_none(tmp_path: Path) -> None:
    text = (
        IMAGE.replace("dim: 2 ", "dim: 6 ", 1)
        + conv("c", "data")
        + reshape("clips", "c", -1, 3, 6, 4, 5)
        + layer("double", "Power", "clips", "double", "power_param { scale: 2 }")
        + reshape("images", "double", -1, 6, 4, 5)
        + conv("d", "images")
    )
    assert shuffled(tmp_path, text) == []


def test_an_image_made_by_a_matrix_costs_none(tmp_path: Path) -> None:
    text = (
        entry("z", 2, 7)
        + dense("fc", "z", 60)
        + layer("relu", "ReLU", "fc", "fc")
        + reshape("image", "fc", 0, 3, 4, 5)
        + conv("d", "image", "Deconvolution")
    )
    assert shuffled(tmp_path, text) == []


def test_flat_and_back_costs_none(tmp_path: Path) -> None:
    text = (
        IMAGE
        + conv("c", "data")
        + layer("flat", "Flatten", "c", "flat")
        + layer("relu", "ReLU", "flat", "flat")
        + reshape("image", "flat", 0, 6, 4, 5)
        + conv("d", "image")
    )
    assert shuffled(tmp_path, text) == []


def test_the_order_of_most_is_taken(tmp_path: Path) -> None:
    """Three blobs in Caffe's order, and one that a convolution made."""
    text = (
        IMAGE
        + layer(
            "made",
            "Convolution",
            "data",
            "made",
            "convolution_param { num_output: 3 kernel_size: 1 }",
        )
        + reshape("line", "made", 0, 0, -1)
        + entry("a", 2, 3, 20)
        + entry("b", 2, 3, 20)
        + layer("sum", "Eltwise", "line a b", "sum")
    )
    assert shuffled(tmp_path, text) == ["line"]
