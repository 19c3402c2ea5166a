"""Layers over axes take the order in which a blob lies; nothing is transposed for them."""

from __future__ import annotations

import pytest

from caffe2k.ir.layout import Layout, Segment
from tests.unit.nets import body, convolution, dense, entry, layer, translated

DATA = entry("data", 2, 3, 8, 8)
CONV = DATA + convolution("c", "data")
TO_LAST = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
TO_SECOND = "permute_param { order: 0 order: 3 order: 1 order: 2 }"


def layout_of(text: str, blob: str) -> Layout:
    layouts = translated(text).whole.layouts
    return next(layout for b, layout in layouts.items() if b.name == blob)


@pytest.mark.parametrize("form", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    "behind",
    [
        layer("t", "Tile", "c", "t", "tile_param { tiles: 2 }") + convolution("d", "t"),
        layer("r", "Reduction", "c", "r", "reduction_param { axis: 2 }"),
        layer("r", "Reduction", "c", "r", "reduction_param { axis: 3 }")
        + layer("s", "Reduction", "r", "s", "reduction_param { axis: 1 }"),
        layer("a", "ArgMax", "c", "a", "argmax_param { axis: 1 }"),
        layer("k", "Crop", "data c", "k") + convolution("d", "k"),
        layer("m", "MVN", "c"),
        layer("n", "Normalize", "c"),
        layer("h", "ShuffleChannel", "c", "h", "shuffle_channel_param { group: 2 }"),
        layer("f", "Flip", "c"),
        layer("e", "CReLU", "c"),
        layer("o", "SPP", "c", "o", "spp_param { pyramid_height: 2 }"),
        layer("p", "Permute", "c", "p", TO_LAST)
        + layer("x", "Softmax", "p", "x", "softmax_param { axis: 3 }")
        + layer("a", "ArgMax", "x", "a", "argmax_param { axis: -1 }")
        + layer("q", "Permute", "a", "q", TO_SECOND),
        layer("p", "Permute", "c", "p", TO_LAST)
        + layer("q", "Permute", "p", "q", TO_SECOND)
        + convolution("d", "q"),
    ],
)
def test_nothing_is_transposed(behind: str, form: str) -> None:
    lines = body(CONV + behind, data_format=form)
    assert not any("Permute(" in line or "Transpose(" in line for line in lines)


def test_a_tiled_flat_blob_leaves_its_order_to_the_kernel_behind() -> None:
    text = (
        CONV
        + layer("f", "Flatten", "c")
        + layer("t", "Tile", "f", "t", "tile_param { tiles: 2 }")
        + dense("ip", "t")
    )
    assert layout_of(text, "t").order == (Segment((4, 6, 6), (1, 2, 0)),) * 2
    assert not any("Permute(" in line for line in body(text))


def test_a_reduction_forgets_the_order_of_what_it_adds_up() -> None:
    flat = CONV + layer("f", "Flatten", "c")
    text = flat + layer("r", "Reduction", "f", "r", "reduction_param { axis: 1 }")
    assert layout_of(text, "f").order
    assert layout_of(text, "r") == Layout((0,))
    assert not any("Permute(" in line for line in body(text))


def test_what_has_its_sizes_already_is_not_cropped() -> None:
    text = (
        CONV
        + layer("k", "Crop", "c c2", "k", "crop_param { axis: 1 }")
        + layer("a", "AbsVal", "k")
    ).replace('"c2"', '"c"')
    assert [line for line in body(text) if "Crop" in line] == []


def test_equal_borders_are_one_number() -> None:
    text = (
        DATA
        + entry("ref", 2, 3, 6, 4)
        + layer("k", "Crop", "data ref", "k", "crop_param { offset: 1 offset: 2 }")
    )
    assert 'layers.Cropping2D((1, 2), name="k")' in body(text)[-2]
    square = text.replace("dim: 4", "dim: 6").replace("offset: 2", "offset: 1")
    assert 'layers.Cropping2D(1, name="k")' in body(square)[-2]
