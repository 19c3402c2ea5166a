"""Axis orders: transposes only where nothing else will do."""

from __future__ import annotations

from caffe2k.ir.layout import Layout, Segment, channels_last
from tests.unit.nets import body, convolution, dense, entry, layer, translated

IMAGE = entry("data", 2, 3, 8, 8)


def order_of(text: str, blob: str) -> Layout:
    layouts = translated(text).whole.layouts
    return next(layout for b, layout in layouts.items() if b.name == blob)


def test_flatten_leaves_the_order_to_the_kernel_behind() -> None:
    text = (
        IMAGE + convolution("c", "data") + layer("f", "Flatten", "c") + dense("ip", "f")
    )
    assert order_of(text, "f").order == (Segment((4, 6, 6), (1, 2, 0)),)
    assert body(text)[-3:-1] == [
        'model.add(layers.Flatten(name="f"))',
        'model.add(layers.Dense(5, name="ip"))',
    ]


def test_a_flattened_output_is_in_caffe_s_order() -> None:
    text = IMAGE + convolution("c", "data") + layer("f", "Flatten", "c")
    assert body(text)[-3:-1] == [
        'model.add(layers.Permute((3, 1, 2), name="c_transpose"))',
        'model.add(layers.Flatten(name="f"))',
    ]


def test_one_channel_needs_no_care() -> None:
    text = entry("data", 2, 1, 8, 8) + layer("f", "Flatten", "data")
    assert order_of(text, "f").order == ()
    assert len(body(text)) == 4


def test_concatenated_orders_are_segments() -> None:
    text = (
        IMAGE
        + entry("side", 2, 5)
        + layer("f", "Flatten", "data")
        + layer("cat", "Concat", "f side", "cat")
        + dense("ip", "cat")
    )
    assert order_of(text, "cat").order == (
        Segment((3, 8, 8), (1, 2, 0)),
        Segment((5,), (0,)),
    )


def test_a_slice_of_a_flattened_blob_makes_the_flatten_transpose() -> None:
    text = (
        IMAGE
        + layer("f", "Flatten", "data")
        + layer("s", "Slice", "f", "x y", "slice_param { slice_point: 10 }")
        + dense("ip", "x")
        + dense("iq", "y")
    )
    assert order_of(text, "f").order == ()
    assert any("Permute((3, 1, 2)" in line for line in body(text))


def test_channels_first_has_no_transposes() -> None:
    text = (
        IMAGE + convolution("c", "data") + layer("f", "Flatten", "c") + dense("ip", "f")
    )
    lines = body(text, data_format="channels_first")
    assert not any("Permute" in line for line in lines)
    assert 'layers.Conv2D(4, 3, data_format="channels_first", name="c")' in "".join(
        lines
    )


def test_axes_of_size_one_come_and_go_freely() -> None:
    text = (
        IMAGE
        + layer(
            "p",
            "Pooling",
            "data",
            "p",
            "pooling_param { pool: AVE global_pooling: true }",
        )
        + layer("r", "Reshape", "p", "r", "reshape_param { shape { dim: 0 dim: -1 } }")
        + layer(
            "b",
            "Reshape",
            "r",
            "b",
            "reshape_param { shape { dim: 0 dim: 0 dim: 1 dim: 1 } }",
        )
        + convolution("c", "b", "").replace("kernel_size: 3", "kernel_size: 1")
    )
    assert order_of(text, "b") == channels_last(4)
    assert not any("Permute" in line for line in body(text))
