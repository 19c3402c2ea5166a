"""Permute is a change of names for axes."""

from __future__ import annotations

from caffe2k.ir.layout import caffe_layout
from tests.unit.nets import body, convolution, entry, layer, translated

DATA = entry("data", 2, 3, 8, 8)
TO_LAST = "permute_param { order: 0 order: 2 order: 3 order: 1 }"


def test_an_ssd_head_has_no_transpose() -> None:
    text = (
        DATA
        + convolution("loc", "data")
        + layer("perm", "Permute", "loc", "perm", TO_LAST)
        + layer("flat", "Flatten", "perm", "flat", "flatten_param { axis: 1 }")
    )
    assert body(text)[-3:-1] == [
        'model.add(layers.Conv2D(4, 3, name="loc"))',
        'model.add(layers.Flatten(name="flat"))',
    ]
    net = translated(text)
    found = {b.name: layout for b, layout in net.whole.layouts.items()}
    assert found["perm"] == caffe_layout(4)
    assert {b.name: s for b, s in net.net.shapes.items()}["perm"] == (2, 6, 6, 4)


def test_axes_that_are_not_named_follow() -> None:
    text = DATA + layer("p", "Permute", "data", "p", "permute_param { order: 2 }")
    shapes = {b.name: s for b, s in translated(text).net.shapes.items()}
    assert shapes["p"] == (8, 2, 3, 8)
