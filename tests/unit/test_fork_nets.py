"""Layers of single forks: NVIDIA's BatchNorm, R-FCN's mining, caffe-lstm, SphereFace."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.passes.unread import report_unread
from caffe2k.passes.weight_plan import multipliers
from tests.unit.nets import body, entry, found, layer, translated

IMAGE = entry("x", 2, 3, 4, 5)


def op(kind: str, bottom: str, more: str = "", top: str = "out") -> str:
    return layer("op", kind, bottom, top, more)


def norm(settings: str, more: str = "") -> str:
    return op("BatchNorm", "x", f"batch_norm_param {{ {settings} }} {more}")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("scale_bias: true", "ScaledBatchNorm("),
        ("bias_filler { value: 2 }", "bias_initializer=initializers.Constant(2.0)"),
        ("scale_filler { value: 1 }", 'ScaledBatchNorm(name="op")'),
        ("scale_bias: true eps: 1e-7", 'ScaledBatchNorm(name="op")'),
        ("scale_bias: true eps: 0.1", "ScaledBatchNorm(epsilon=0.1,"),
        ("scale_bias: true use_global_stats: true", 'ScaledBatchNorm(name="op")'),
        ("scale_bias: false", 'BatchNorm(name="op")'),
    ],
)
def test_nvidias_batch_norm(settings: str, expected: str) -> None:
    assert expected in "".join(body(IMAGE + norm(settings)))


def test_nvidias_batch_norm_sets_its_multipliers_itself() -> None:
    net = IMAGE + norm("scale_bias: true", "param { lr_mult: 3 decay_mult: 4 }" * 5)
    assert multipliers(translated(net).whole) == {
        ("op", "scale"): (1, 1),
        ("op", "bias"): (1, 1),
    }


def test_intels_batch_norm_is_not_nvidias() -> None:
    diagnostics = Diagnostics()
    net = translated(IMAGE + norm("use_weight_bias: true"), diagnostics)
    report_unread(net.message, list(net.message.layer), diagnostics)
    assert [code for code, _ in found(diagnostics)] == ["unsupported-option"]


def test_half_precision_is_left_to_keras() -> None:
    diagnostics = Diagnostics()
    net = translated(
        "default_forward_type: FLOAT16 default_backward_math: FLOAT "
        "global_grad_scale: 1000 eltwise_mem_sharing: false "
        + IMAGE
        + op("ReLU", "x", "forward_type: FLOAT backward_type: FLOAT16"),
        diagnostics,
    )
    report_unread(net.message, list(net.message.layer), diagnostics)
    codes = [code for code, _ in found(diagnostics)]
    assert codes == ["half-precision"]


def test_single_precision_is_not_mentioned() -> None:
    diagnostics = Diagnostics()
    text = IMAGE + op("ReLU", "x", "forward_type: FLOAT forward_math: FLOAT")
    net = translated(text, diagnostics)
    report_unread(net.message, list(net.message.layer), diagnostics)
    assert found(diagnostics) == []


SCORES = entry("s", 6, 3) + entry("l", 6, 1, 1, 1)
BOXES = entry("p", 6, 8) + entry("t", 6, 8) + entry("w", 6, 8)
ZERO = "loss_weight: 0 "


def test_the_loss_of_each_label_has_the_labels_shape() -> None:
    net = translated(SCORES + op("SoftmaxWithLoss", "s l", ZERO * 3, "loss prob each"))
    shapes = {blob.name: shape for blob, shape in net.net.shapes.items()}
    assert shapes["prob"] == (6, 3)
    assert shapes["each"] == (6, 1, 1, 1)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((6, 8), (6, 1, 1, 1)), ((6, 8, 2), (6, 1, 2, 1)), ((6, 8, 2, 3), (6, 1, 2, 3))],
)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_loss_of_each_place(
    sizes: tuple[int, ...], expected: tuple[int, ...], data_format: str
) -> None:
    blobs = entry("p", *sizes) + entry("t", *sizes)
    text = blobs + op("SmoothL1Loss", "p t", ZERO * 2, "loss each")
    net = translated(text, data_format=data_format)
    shapes = {blob.name: shape for blob, shape in net.net.shapes.items()}
    assert shapes["each"] == expected


LSTM = "lstm_param {{ num_output: 3 batch_size: {} }}"
MARGIN = "margin_inner_product_param {{ num_output: 3 {} }}"
OHEM = "box_annotator_ohem_param { roi_per_img: 2 }"

REFUSED = [
    (IMAGE.replace("dim: 5", "") + norm("scale_bias: true"), "bottom-rank"),
    (
        BOXES + op("SmoothL1Loss", "p t w w", ZERO * 2, "loss each"),
        "top-count",
    ),
    (
        SCORES + op("SoftmaxWithLoss", "s l", "loss_weight: 1", "a b c"),
        "loss-weight-count",
    ),
    (entry("x", 6, 2) + op("Lstm", "x", LSTM.format(4)), "bottom-shapes"),
    (entry("x", 6, 2) + op("Lstm", "x", "lstm_param { }"), "missing-num-output"),
    (
        entry("x", 6, 2) + entry("c", 5, 1) + op("Lstm", "x c", LSTM.format(2)),
        "bottom-shapes",
    ),
    (
        SCORES + op("MarginInnerProduct", "s l", MARGIN.format("axis: 0")),
        "unsupported-option",
    ),
    (SCORES + op("MarginInnerProduct", "s l"), "missing-num-output"),
    (
        SCORES
        + entry("l2", 6, 2)
        + op("MarginInnerProduct", "s l2", MARGIN.format("")),
        "label-count",
    ),
    (
        entry("r", 6, 4)
        + entry("e", 6, 1)
        + BOXES
        + op("BoxAnnotatorOHEM", "r e e w", OHEM, "a b"),
        "bottom-shapes",
    ),
    (
        entry("r", 6, 5)
        + entry("e", 6, 1)
        + BOXES
        + op("BoxAnnotatorOHEM", "r e e w", OHEM.replace("2", "0"), "a b"),
        "missing-size",
    ),
]


@pytest.mark.parametrize(("text", "code"), REFUSED)
def test_refused(text: str, code: str) -> None:
    diagnostics = Diagnostics()
    with pytest.raises(TranslationError):
        translated(text, diagnostics)
    assert code in [c for c, _ in found(diagnostics)]


def test_an_lstm_over_rows() -> None:
    net = entry("x", 6, 2, 2) + entry("c", 6) + op("Lstm", "x c", LSTM.format(2))
    whole = translated(net)
    assert whole.net.param_shapes[2] == ((12, 4), (12, 3), (12,))
    assert 'FlatLSTM(3, streams=2, name="op")([x_2, c])' in "".join(body(net))
