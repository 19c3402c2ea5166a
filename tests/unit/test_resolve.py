"""Connections as Net::Init (net.cpp) makes them."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Blob, Net, Phase
from tests.unit.nets import convolution, entry, found, layer, phases

DATA = entry("data", 2, 3, 8, 8)


def resolved(text: str, diagnostics: Diagnostics | None = None) -> Net:
    used = Diagnostics() if diagnostics is None else diagnostics
    return phases(DATA + text, used, phase=Phase.TEST)[Phase.TEST]


def test_in_place_layers_write_the_next_version() -> None:
    net = resolved(
        convolution("c", "data")
        + layer("r", "ReLU", "c", "c")
        + layer("d", "Dropout", "c", "c")
        + layer("s", "Sigmoid", "c", "s")
    )
    reads = {each.name: each.bottoms[0] for each in net.layers[1:]}
    assert reads == {
        "c": Blob("data"),
        "r": Blob("c", 0),
        "d": Blob("c", 1),
        "s": Blob("c", 2),
    }


def test_a_reader_before_the_in_place_layer_sees_the_value_before() -> None:
    net = resolved(
        layer("a", "Sigmoid", "data", "a")
        + layer("before", "TanH", "a", "before")
        + layer("r", "ReLU", "a", "a")
        + layer("after", "TanH", "a", "after")
    )
    reads = {each.name: each.bottoms[0] for each in net.layers[1:]}
    assert reads["before"] == Blob("a", 0)
    assert reads["after"] == Blob("a", 1)


def test_unknown_bottom_is_reported_once() -> None:
    diagnostics = Diagnostics()
    resolved(layer("a", "ReLU", "dta", "a") + layer("b", "ReLU", "a", "b"), diagnostics)
    assert found(diagnostics) == [
        (
            "unknown-bottom",
            "layer `a` reads `dta`, which no layer before it writes",
        )
    ]
    (only,) = diagnostics
    assert only.help == "did you mean `data`?"


def test_a_top_is_written_once() -> None:
    diagnostics = Diagnostics()
    resolved(
        layer("a", "ReLU", "data", "x") + layer("b", "TanH", "data", "x"), diagnostics
    )
    assert [d.code for d in diagnostics] == ["duplicate-top"]


def test_counts_are_checked() -> None:
    diagnostics = Diagnostics()
    resolved(layer("a", "Eltwise", "data", "a b"), diagnostics)
    assert sorted(d.code for d in diagnostics) == ["bottom-count", "top-count"]


def test_a_loss_may_leave_out_its_top() -> None:
    text = entry("label", 2) + 'layer { name: "l" type: "SoftmaxWithLoss" '
    net = resolved(
        layer(
            "ip", "InnerProduct", "data", more="inner_product_param { num_output: 3 }"
        )
        + text
        + 'bottom: "ip" bottom: "label" }'
    )
    assert net.layers[-1].tops == (Blob("l"),)


def test_all_unsupported_layers_are_one_diagnostic() -> None:
    diagnostics = Diagnostics()
    resolved(layer("a", "Foo", "data", "a") + layer("b", "Bar", "a", "b"), diagnostics)
    assert found(diagnostics) == [
        (
            "unsupported-layer",
            "the net has 2 layers of a type that is not supported: Foo (`a`), Bar (`b`)",
        )
    ]
