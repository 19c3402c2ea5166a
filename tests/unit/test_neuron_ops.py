"""AbsVal, BNLL, Clip, Dropout, ELU, Exp, Log, Swish, Threshold, ReLU6: what is made."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics, TranslationError
from tests.unit.nets import body, convolution, entry, found, layer, translated

DATA = entry("data", 2, 3, 8, 8)


@pytest.mark.parametrize(
    ("kind", "more", "call"),
    [
        ("AbsVal", "", "AbsVal("),
        ("BNLL", "", 'layers.Activation("softplus", '),
        ("Clip", "clip_param { min: -inf max: 3 }", 'Clip(float("-inf"), 3.0, '),
        ("ELU", "", "layers.ELU("),
        ("ELU", "elu_param { alpha: 0.5 }", "layers.ELU(alpha=0.5, "),
        ("ELU", "elu_param { lambda: 1.05 }", "ELU(scale=1.05, "),
        ("Exp", "", 'layers.Activation("exponential", '),
        ("Exp", "exp_param { base: 2 shift: 1 }", "Exp(base=2.0, shift=1.0, "),
        ("Exp", "exp_param { base: 1 }", "Exp(base=1.0, "),
        ("Log", "", "Log("),
        ("Log", "log_param { base: 10 scale: 2 }", "Log(base=10.0, scale=2.0, "),
        ("Swish", "", 'layers.Activation("silu", '),
        ("Swish", "swish_param { beta: 1.5 }", "Swish(1.5, "),
        ("Threshold", "", "Threshold("),
        (
            "Threshold",
            "threshold_param { threshold: 0.2 }",
            "Threshold(threshold=0.2, ",
        ),
        ("ReLU6", "relu6_param { negative_slope: 0.1 }", "ReLU6(negative_slope=0.1, "),
    ],
)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_call(kind: str, more: str, call: str, data_format: str) -> None:
    lines = body(DATA + layer("op", kind, "data", more=more), data_format=data_format)
    assert lines[-2] == f'model.add({call}name="op"))'


@pytest.mark.parametrize(
    ("kind", "more", "activation"),
    [
        ("ELU", "", "elu"),
        ("Exp", "", "exponential"),
        ("Swish", "", "silu"),
        ("ELU", "elu_param { alpha: 0.5 }", None),
        ("Exp", "exp_param { base: 2 }", None),
        ("Swish", "swish_param { beta: 2 }", None),
    ],
)
def test_in_place_it_may_be_an_argument(
    kind: str, more: str, activation: str | None
) -> None:
    lines = body(DATA + convolution("c", "data") + layer("op", kind, "c", "c", more))
    if activation is None:
        assert lines[-3] == 'model.add(layers.Conv2D(4, 3, name="c"))'
    else:
        fused = f'layers.Conv2D(4, 3, activation="{activation}", name="c")'
        assert lines[-2] == f"model.add({fused})"


def test_dropout_that_scales_in_test() -> None:
    more = "dropout_param { dropout_ratio: 0.7 scale_train: false }"
    lines = body(DATA + layer("drop", "Dropout", "data", more=more))
    assert lines[-3:-1] == [
        'model.add(layers.Dropout(0.7, name="drop"))',
        'model.add(layers.Rescaling(0.3, name="drop_scale"))',
    ]


@pytest.mark.parametrize(
    ("kind", "base", "shown"),
    [
        ("Exp", "0", "0"),
        ("Exp", "-2", "-2"),
        ("Exp", "nan", "nan"),
        ("Exp", "inf", "inf"),
        ("Log", "1e39", "inf"),
        ("Log", "1e-46", "0"),
        ("Log", "1", "1"),
        ("Log", "1.00000001", "1"),
    ],
)
def test_a_base_without_a_logarithm_is_refused(
    kind: str, base: str, shown: str
) -> None:
    param = f"{kind.lower()}_param {{ base: {base} }}"
    diagnostics = Diagnostics()
    with pytest.raises(TranslationError):
        translated(DATA + layer("op", kind, "data", more=param), diagnostics)
    problem = f"`base` of layer `op` can't be {shown}"
    assert found(diagnostics) == [("log-base", problem)]
