"""What forks' layers and Deconvolution refuse, and where the diagnostic points."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.passes.unread import report_unread
from tests.unit.nets import entry, found, layer, translated

X = entry("x", 2, 4, 6, 6)


def op(kind: str, bottoms: str, param: str = "", tops: str = "out") -> str:
    return layer("op", kind, bottoms, tops, param)


REFUSED = [
    (
        X + op("Deconvolution", "x", "convolution_param { kernel_size: 2 }"),
        "missing-num-output",
    ),
    (
        X
        + op(
            "Deconvolution",
            "x",
            "convolution_param { num_output: 2 kernel_size: 2 pad: 4 }",
        ),
        "bad-size",
    ),
    (
        X
        + op(
            "Deconvolution",
            "x",
            "convolution_param { num_output: 3 kernel_size: 2 group: 2 }",
        ),
        "group",
    ),
    (
        entry("x", 2, 4, 6)
        + op("ConvolutionDepthwise", "x", "convolution_param { kernel_size: 2 }"),
        "bottom-rank",
    ),
    (X + op("BN", "x", "bn_param { bn_mode: LEARN momentum: 0.9 }"), "mixed-bn"),
    (X + op("BN", "x", "bn_param { bn_mode: INFERENCE }", "out mean"), "top-count"),
    (X + op("BN", "x", "", "out mean"), "top-count"),
    (
        X + op("BN", "x", "bn_param { var_eps: 0.1 moving_average: true }"),
        "unsupported-option",
    ),
    (
        X + op("BN", "x", "bn_param { across_spatial: false }"),
        "unsupported-option",
    ),
    (entry("x", 2, 4, 6, 6, 6) + op("BN", "x"), "bottom-rank"),
    (
        entry("x", 2, 4) + op("BN", "x", "bn_param { scale_filler { } }"),
        "bottom-rank",
    ),
    (X + op("Upsample", "x"), "bad-size"),
    (X + entry("m", 2, 4, 3, 3) + op("Upsample", "x m"), "bottom-shapes"),
    (
        X + op("Upsample", "x x", "upsample_param { scale: 3 pad_out_w: true }"),
        "bad-size",
    ),
    (X + op("Upsample", "x x", "upsample_param { scale_h: 3 }"), "conflicting-sizes"),
    (
        X + op("Upsample", "x x", "upsample_param { scale: 2 scale_h: 3 scale_w: 3 }"),
        "conflicting-sizes",
    ),
    (X + op("Upsample", "x x", "upsample_param { scale: 1 }"), "bad-size"),
    (
        X + op("Upsample", "x x", "upsample_param { upsample_h: 1 upsample_w: 9 }"),
        "bad-size",
    ),
    (X + op("Interp", "x", "interp_param { height: 4 }"), "missing-size"),
    (X + op("Interp", "x", "interp_param { zoom_factor: 0 }"), "bad-size"),
    (X + op("Interp", "x", "interp_param { height: 0 width: 3 }"), "bad-size"),
    (X + op("Interp", "x", "interp_param { zoom_factor: 2 pad_beg: 1 }"), "bad-size"),
    (
        X
        + op("Interp", "x", "interp_param { zoom_factor: 2 pad_beg: -4 pad_end: -2 }"),
        "bad-size",
    ),
    (
        X + entry("r", 3, 4) + op("ROIPooling", "x r"),
        "bottom-shapes",
    ),
    (X + entry("r", 3, 5) + op("ROIPooling", "x r"), "bad-size"),
    (
        X
        + entry("r", 3, 5)
        + op(
            "PSROIPooling",
            "x r",
            "psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 1 }",
        ),
        "bottom-shapes",
    ),
    (X + entry("t", 2, 5) + op("SpatialTransformer", "x t"), "bottom-shapes"),
    (X + entry("t", 3, 6) + op("SpatialTransformer", "x t"), "bottom-shapes"),
    (
        X
        + entry("t", 2, 6)
        + op("SpatialTransformer", "x t", "st_param { output_H: 0 }"),
        "bad-size",
    ),
    (
        X
        + entry("t", 2, 6)
        + op("SpatialTransformer", "x t", 'st_param { sampler_type: "nearest" }'),
        "transformer-kind",
    ),
]


@pytest.mark.parametrize(("text", "code"), REFUSED)
def test_refused(text: str, code: str) -> None:
    diagnostics = Diagnostics()
    with pytest.raises(TranslationError):
        translated(text, diagnostics)
    assert [found_code for found_code, _ in found(diagnostics)] == [code]
    assert all(d.help for d in diagnostics)


UNREAD = [
    X + op("Upsample", "x", "upsample_param { scale: 2 scale_h: 2 }"),
    X
    + entry("r", 3, 5)
    + op(
        "ROIPooling",
        "x r",
        "roi_pooling_param { pooled_h: 2 pooled_w: 2 pooled_size: 3 }",
    ),
]


@pytest.mark.parametrize("text", UNREAD)
def test_other_forks_settings_are_not_dropped(text: str) -> None:
    diagnostics = Diagnostics()
    net = translated(text, diagnostics)
    report_unread(net.message, list(net.message.layer), diagnostics)
    assert [code for code, _ in found(diagnostics)] == ["unsupported-option"]


def test_frozen_may_differ_between_the_phases() -> None:
    twins = [
        layer(
            "op", "BN", "x", "out", f"include {{ phase: {phase} }} bn_param {{ {p} }}"
        )
        for phase, p in (
            ("TRAIN", "momentum: 0.9"),
            ("TEST", "momentum: 0.9 frozen: true"),
        )
    ]
    loss = layer("loss", "EuclideanLoss", "out x")
    diagnostics = Diagnostics()
    net = translated(X + "".join(twins) + loss, diagnostics)
    (call,) = (k.call for k in net.whole.program.layers() if k.name == "op")
    assert dict(call.kwargs)["momentum"] == 0.9
    assert "trainable" not in dict(call.kwargs)
    report_unread(net.message, list(net.message.layer), diagnostics)
    assert found(diagnostics) == []
