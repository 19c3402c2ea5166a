"""Which in-place layers Caffe's gradient makes one of."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics
from tests.unit.nets import convolution, entry, found, layer, translated

DATA = "force_backward: true\n" + entry("data", 2, 3, 8, 8)
LEAKY = "relu_param { negative_slope: 0.1 }"
TWICE = "power_param { scale: 2 }"


def kinds(text: str, diagnostics: Diagnostics | None = None) -> list[str]:
    program = translated(text, diagnostics).whole.program
    return [step.layer.call.target.name for step in program.steps]


def in_place(name: str, kind: str, more: str = "") -> str:
    return layer(name, kind, "c", "c", more)


C = DATA + convolution("c", "data")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (in_place("r", "ReLU") + in_place("d", "Dropout"), ["Conv2D", "Dropout"]),
        (in_place("r", "ReLU", LEAKY), ["Conv2D", "ReLU"]),
        (in_place("s", "Sigmoid"), ["Conv2D"]),
        (in_place("d", "Dropout") + in_place("s", "Sigmoid"), None),
        (in_place("p", "Power", "power_param { scale: 0 }"), None),
        (in_place("e", "ELU"), ["Conv2D"]),
        (in_place("e", "Exp") + layer("a", "AbsVal", "c"), ["Conv2D", "AbsVal"]),
        (in_place("r", "ReLU6"), ["Conv2D", "ReLU6"]),
    ],
)
def test_what_does_not_show_stays(layers: str, expected: list[str] | None) -> None:
    diagnostics = Diagnostics()
    names = kinds(C + layers, diagnostics)
    assert "InPlaceRun" not in names
    assert expected is None or names == expected
    assert found(diagnostics) == []


@pytest.mark.parametrize(
    "layers",
    [
        in_place("p", "Power", TWICE),
        in_place("r", "ReLU", LEAKY) + in_place("p", "Power", TWICE),
        in_place("s", "Sigmoid") + in_place("d", "Dropout"),
        layer("s", "Sigmoid", "c", "s") + layer("d", "Dropout", "s", "s"),
        in_place("r", "ReLU") + in_place("t", "TanH") + in_place("d", "Dropout"),
        in_place("p", "Power"),
        in_place("l", "Log"),
        in_place("b", "BNLL"),
        in_place("k", "Clip", "clip_param { min: 0 max: 1 }"),
        in_place("e", "ELU", "elu_param { alpha: -1 }"),
        in_place("e", "ELU") + in_place("d", "Dropout"),
        in_place("s", "Swish") + in_place("d", "Dropout"),
        layer("e", "Exp", "c", "e") + layer("d", "Dropout", "e", "e"),
    ],
)
def test_what_shows_becomes_one_layer_and_a_warning(layers: str) -> None:
    diagnostics = Diagnostics()
    assert kinds(C + layers, diagnostics)[-1] == "InPlaceRun"
    assert [d.code for d in diagnostics] == ["in-place-gradient"]


def test_what_has_no_such_form_is_said() -> None:
    diagnostics = Diagnostics()
    layers = in_place("r", "ReLU") + in_place("bn", "BatchNorm")
    assert kinds(C + layers, diagnostics) == ["Conv2D", "BatchNorm"]
    assert found(diagnostics) == [
        (
            "in-place-gradient",
            (
                "in place, Caffe computes the gradient of `r`, `bn` from overwritten "
                "values; the Keras model has the true gradient, not Caffe's"
            ),
        )
    ]


def test_a_deploy_net_has_no_gradients() -> None:
    text = C.replace("force_backward: true", "") + in_place("p", "Power", TWICE)
    assert kinds(text) == ["Conv2D", "Rescaling"]


def test_what_nothing_learned_leads_to_has_no_gradient() -> None:
    text = (
        entry("data", 2, 3, 8, 8)
        + layer("p", "Power", "data", "data", TWICE)
        + convolution("c", "data")
        + in_place("s", "Sigmoid")
        + in_place("d", "Dropout")
        + layer("sum", "Reduction", "c", "sum", "loss_weight: 1")
    )
    diagnostics = Diagnostics()
    assert kinds(text, diagnostics)[:3] == ["Rescaling", "Conv2D", "InPlaceRun"]
    assert [d.code for d in diagnostics] == ["in-place-gradient"]
    frozen = text.replace('top: "c"', 'top: "c" param { lr_mult: 0 }', 1)
    frozen = frozen.replace("lr_mult: 0 }", "lr_mult: 0 } param { lr_mult: 0 }")
    assert "InPlaceRun" not in kinds(frozen)
    assert kinds("force_backward: true\n" + frozen)[0] == "InPlaceRun"
