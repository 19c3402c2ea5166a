"""Shared parameters: Net::AppendParam (net.cpp)."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.passes.weight_plan import multipliers
from tests.unit.nets import body, convolution, dense, entry, translated

TWO = entry("a", 2, 3, 8, 8) + entry("b", 2, 3, 8, 8)
SHARED = 'param { name: "w" } param { name: "v" }'


def codes(text: str) -> list[str]:
    diagnostics = Diagnostics()
    with pytest.raises(TranslationError):
        translated(text, diagnostics)
    return [d.code for d in diagnostics if d.severity.value == "error"]


def test_layers_that_share_all_are_one_keras_layer() -> None:
    text = TWO + convolution("ca", "a", SHARED) + convolution("cb", "b", SHARED)
    assert body(text) == [
        'a = keras.Input((8, 8, 3), name="a")',
        'b = keras.Input((8, 8, 3), name="b")',
        'ca = layers.Conv2D(4, 3, name="ca")',
        "ca_2 = ca(a)",
        "x = ca(b)",
        'return keras.Model([a, b], {"ca": ca_2, "cb": x}, name="model")',
    ]
    (layer,) = translated(text).plan.layers
    assert [[blob.caffe_layer for blob in w.blobs] for w in layer.weights] == [
        ["ca", "cb"],
        ["ca", "cb"],
    ]


def test_a_multiplier_may_stand_with_any_of_them() -> None:
    one = 'param { name: "w" } param { name: "v" decay_mult: 0 }'
    other = 'param { name: "w" lr_mult: 3 } param { name: "v" }'
    text = TWO + convolution("ca", "a", one) + convolution("cb", "b", other)
    assert multipliers(translated(text).whole) == {
        ("ca", "kernel"): (3.0, 1.0),
        ("ca", "bias"): (1.0, 0.0),
    }


def test_two_multipliers_must_agree() -> None:
    one, other = (
        f'param {{ name: "w" lr_mult: {m} }} param {{ name: "v" }}' for m in (1, 2)
    )
    text = TWO + convolution("ca", "a", one) + convolution("cb", "b", other)
    assert codes(text) == ["shared-param-multiplier"]


def test_shapes_must_agree() -> None:
    text = TWO + convolution("ca", "a", SHARED) + dense("ip", "b", 4, SHARED)
    assert "shared-param-shape" in codes(text)


def test_half_a_layer_can_t_be_shared() -> None:
    half = 'param { name: "w" }'
    text = TWO + convolution("ca", "a", half) + convolution("cb", "b", half)
    assert codes(text) == ["partial-sharing"]


def test_param_blocks_beyond_the_blobs() -> None:
    text = TWO + convolution("ca", "a", "param { } param { } param { }")
    assert codes(text) == ["too-many-params"]
