"""Activations move into the layer before them where they work in place."""

from __future__ import annotations

from tests.unit.nets import body, convolution, dense, entry, layer

DATA = entry("data", 2, 3, 8, 8)
SHARED = 'param { name: "w" } param { name: "v" }'


def test_in_place_is_fused_with_its_comments() -> None:
    text = (
        DATA + convolution("c", "data") + "# positive\n" + layer("r", "ReLU", "c", "c")
    )
    assert body(text)[2:4] == [
        "# positive",
        'model.add(layers.Conv2D(4, 3, activation="relu", name="c"))',
    ]


def test_a_blob_with_a_name_of_its_own_stays() -> None:
    text = DATA + convolution("c", "data") + layer("r", "ReLU", "c", "r")
    assert body(text)[-2] == 'model.add(layers.ReLU(name="r"))'


def test_a_slope_is_no_activation() -> None:
    slope = "relu_param { negative_slope: 0.1 }"
    text = DATA + convolution("c", "data") + layer("r", "ReLU", "c", "c", slope)
    assert 'model.add(layers.Conv2D(4, 3, name="c"))' in body(text)


def test_a_blob_that_is_read_before_stays() -> None:
    text = (
        DATA
        + convolution("c", "data")
        + layer("t", "TanH", "c", "t")
        + layer("r", "ReLU", "c", "c")
    )
    assert 'c = layers.Conv2D(4, 3, name="c")(data)' in body(text)


def test_sharing_layers_fuse_alike_or_not_at_all() -> None:
    two = DATA + entry("other", 2, 3, 8, 8)
    text = (
        two
        + dense("a", "data", 5, SHARED)
        + layer("ra", "ReLU", "a", "a")
        + dense("b", "other", 5, SHARED)
    )
    assert 'a = layers.Dense(5, name="a")' in body(text)
    both = text + layer("rb", "ReLU", "b", "b")
    assert 'a = layers.Dense(5, activation="relu", name="a")' in body(both)


def test_a_data_layer_says_once_what_it_is() -> None:
    shapes = "dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 3 } }"
    net = "# pairs\n" + layer("d", "DummyData", top="a b", more=shapes)
    assert body(net + layer("sum", "Eltwise", "a b")).count("# pairs") == 1
