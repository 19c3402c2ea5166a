"""Shared parameters: Net::AppendParam (net.cpp)."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.passes.weight_plan import multipliers
from tests.unit.nets import body, convolution, dense, entry, layer, translated

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


HALF = 'param { name: "w" }'


def test_a_shared_kernel_leaves_each_its_bias() -> None:
    other = HALF + " param { lr_mult: 3 }"
    text = TWO + convolution("ca", "a", HALF) + convolution("cb", "b", other)
    assert body(text) == [
        'a = keras.Input((8, 8, 3), name="a")',
        'b = keras.Input((8, 8, 3), name="b")',
        'ca = layers.Conv2D(4, 3, use_bias=False, name="ca")',
        "x = ca(a)",
        'ca_2 = Bias([3], name="ca_bias")(x)',
        "x = ca(b)",
        'x = Bias([3], name="cb_bias")(x)',
        'return keras.Model([a, b], {"ca": ca_2, "cb": x}, name="model")',
    ]
    whole = translated(text).whole
    assert multipliers(whole) == {
        ("ca", "kernel"): (1.0, 1.0),
        ("ca_bias", "bias"): (1.0, 1.0),
        ("cb_bias", "bias"): (3.0, 1.0),
    }


def test_a_third_layer_may_share_both() -> None:
    three = TWO + entry("c", 2, 3, 8, 8)
    text = three + "".join(
        dense(f"ip_{x}", x, 5, shared)
        for x, shared in (("a", SHARED), ("b", HALF), ("c", SHARED))
    )
    plan = translated(text).plan
    found = {
        p.keras_name: [b.caffe_layer for b in p.weights[0].blobs] for p in plan.layers
    }
    assert found == {
        "ip_a": ["ip_a", "ip_b", "ip_c"],
        "ip_a_bias": ["ip_a", "ip_c"],
        "ip_b_bias": ["ip_b"],
    }


def test_an_activation_stays_behind_the_bias() -> None:
    relu = [layer(f"r{x}", "ReLU", f"c{x}", f"c{x}") for x in "ab"]
    text = TWO + convolution("ca", "a", HALF) + relu[0]
    found = body(text + convolution("cb", "b", HALF) + relu[1])
    assert 'x = layers.ReLU(name="rb")(x)' in found
    assert not any("activation=" in line for line in found)


@pytest.mark.parametrize(
    "text",
    [
        # The kernels have other settings.
        convolution("ca", "a", HALF)
        + layer(
            "cb",
            "Convolution",
            "b",
            more=f"convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 }} {HALF}",
        ),
        # As many values in another shape.
        convolution("ca", "a", HALF)
        + entry("c", 2, 27)
        + dense("ip", "c", 4, 'param { name: "w" share_mode: PERMISSIVE }'),
        # A type that is not split in two.
        "".join(
            layer(f"s{x}", "Scale", x, more=f"scale_param {{ bias_term: true }} {HALF}")
            for x in "ab"
        ),
    ],
)
def test_what_can_t_be_shared(text: str) -> None:
    assert codes(TWO + text) == ["partial-sharing"]


def test_param_blocks_beyond_the_blobs() -> None:
    text = TWO + convolution("ca", "a", "param { } param { } param { }")
    assert codes(text) == ["too-many-params"]
