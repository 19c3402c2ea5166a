"""What nothing read: an error, or a warning where Caffe does not look at it either."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics
from caffe2k.passes.unread import report_unread
from tests.unit.nets import entry, found, layer, message, translated

IMAGE = entry("x", 2, 4, 6, 6)
PAIR = entry("p", 4, 3) + entry("t", 4, 3)
SCORES = entry("p", 4, 3) + entry("t", 4)

IGNORED = [
    (SCORES, "Accuracy", "p t", "loss_param { ignore_label: 1 }"),
    (PAIR, "EuclideanLoss", "p t", "loss_param { normalization: VALID }"),
    (SCORES, "HingeLoss", "p t", "softmax_param { axis: 0 }"),
    (
        IMAGE,
        "Pooling",
        "x",
        "pooling_param { kernel_size: 2 } convolution_param { pad: 1 }",
    ),
    (IMAGE, "ReLU", "x", "hinge_loss_param { norm: L2 }"),
    (IMAGE, "AbsVal", "x", "transform_param { scale: 2 }"),
    (IMAGE, "Sigmoid", "x", "loss_param { normalize: true }"),
    (IMAGE, "Im2col", "x", "convolution_param { kernel_size: 2 bias_term: false }"),
    (
        IMAGE,
        "Deconvolution",
        "x",
        "convolution_param { num_output: 2 kernel_size: 2 } pooling_param { pad: 1 }",
    ),
    (SCORES, "SoftmaxWithLoss", "p t", "accuracy_param { top_k: 2 }"),
]


def codes(text: str) -> list[str]:
    diagnostics = Diagnostics()
    net = translated(text, diagnostics)
    report_unread(net.message, list(net.message.layer), diagnostics)
    return [code for code, _ in found(diagnostics)]


@pytest.mark.parametrize(("entries", "kind", "bottoms", "param"), IGNORED)
def test_what_caffe_ignores(entries: str, kind: str, bottoms: str, param: str) -> None:
    assert codes(entries + layer("op", kind, bottoms, "out", param)) == [
        "ignored-field"
    ]


@pytest.mark.parametrize(
    ("kind", "param"),
    [
        # What a fork of Caffe added, and may have changed other layers for.
        ("ReLU", "bn_param { momentum: 0.5 }"),
        ("Dropout", "dropout_param { random_seed: 7 }"),
    ],
)
def test_what_a_fork_may_not_ignore(kind: str, param: str) -> None:
    assert codes(IMAGE + layer("op", kind, "x", "out", param)) == ["unsupported-option"]


def test_a_type_that_nobody_knows_may_read_anything() -> None:
    net = message(layer("op", "Odd", "", "out", "pooling_param { pad: 1 }"))
    diagnostics = Diagnostics()
    report_unread(net, list(net.layer), diagnostics)
    assert [code for code, _ in found(diagnostics)] == ["unsupported-option"]
