"""Forks' layers through emitted code, in both data formats.

Expected are the NumPy readings of the C++ in tests/runtime/*_rules.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.against_rules import FORMATS, Dout, blobs, check, emitted, normal
from tests.conformance.gradients import run
from tests.conformance.suite import error
from tests.runtime import bn_rules, region_rules, resampling_rules
from tests.unit.nets import layer


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("param", "epsilon"), [("scale_filler { }", 1e-9), ("var_eps: 0.01", 0.01)]
)
def test_segnet_bn(param: str, epsilon: float, form: str, tmp_path: Path) -> None:
    x, dout = normal(3, 4, 3, 5), Dout()
    op = layer("op", "BN", "x", "out mean variance", f"bn_param {{ {param} }}")
    net = emitted(op, {"x": x}, tmp_path, form)
    scale, shift = (b.reshape(-1) for b in blobs(net))
    (top, mean, variance), (dx, *dparams) = bn_rules.segnet(
        x, scale, shift, dout, epsilon
    )
    # The gradients of the statistics lead nowhere.
    douts = {"out": dout.drawn, "mean": normal(1, 4, 1, 1)}
    passes = run(net, {"x": x}, douts)
    check(passes, top, {"x": dx, "0": dparams[0], "1": dparams[1]})
    assert error(passes.out["mean"], mean) <= 1e-5
    assert error(passes.out["variance"], variance) <= 1e-5


@pytest.mark.parametrize("form", FORMATS)
def test_segnet_bn_inference(form: str, tmp_path: Path) -> None:
    x, dout = normal(3, 4, 3, 5), normal(3, 4, 3, 5)
    op = layer("op", "BN", "x", "out", "bn_param { bn_mode: INFERENCE }")
    net = emitted(op, {"x": x}, tmp_path, form)
    scale, shift = blobs(net)
    gradients = {"x": dout * scale, "0": (x * dout).sum((0, 2, 3))}
    gradients["1"] = dout.sum((0, 2, 3))
    check(run(net, {"x": x}, {"out": dout}), x * scale + shift, gradients)


PSPNET = 'slope_filler { type: "constant" value: 1 } momentum: 0.95 eps: 0.001'


@pytest.mark.parametrize("form", FORMATS)
def test_pspnet_bn_trains(form: str, tmp_path: Path) -> None:
    x, dout = normal(3, 4, 3, 5), Dout()
    op = layer("op", "BN", "x", "out", f"bn_param {{ {PSPNET} }}")
    net = emitted(op, {"x": x}, tmp_path, form)
    slope, bias, *moving = (b.reshape(-1) for b in blobs(net))
    (top, *kept), (dx, dslope, dbias) = bn_rules.pspnet_train(
        x, slope, bias, moving, dout, 0.95, 0.001
    )
    passes = run(net, {"x": x}, {"out": dout.drawn})
    check(passes, top, {"x": dx, "0": dslope, "1": dbias})
    for i, expected in enumerate(kept, 2):
        assert error(passes.after["op", i].reshape(-1), expected) <= 1e-5


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("phase", "param"),
    [("TEST", PSPNET), ("TEST", "eps: 0.001"), ("TRAIN", f"{PSPNET} frozen: true")],
)
def test_pspnet_bn_is_given_its_statistics(
    phase: str, param: str, form: str, tmp_path: Path
) -> None:
    x, dout = normal(3, 4, 3, 5), Dout()
    op = layer("op", "BN", "x", "out", f"bn_param {{ {param} }}")
    net = emitted(op, {"x": x}, tmp_path, form, phase)
    slope, bias, *moving = (b.reshape(-1) for b in blobs(net))
    (top,), (dx,) = bn_rules.pspnet_frozen(x, slope, bias, moving, dout, 0.001)
    passes = run(net, {"x": x}, {"out": dout.drawn})
    check(passes, top, {"x": dx})
    if phase == "TRAIN":
        assert not any(passes.dparam["op", i].any() for i in range(4))


def test_pspnet_bn_of_flattened_images(tmp_path: Path) -> None:
    """The channels lie in another order than in Caffe; the blobs follow."""
    x, dout = normal(3, 4, 3, 5), Dout()
    op = layer("flat", "Flatten", "x") + layer("op", "BN", "flat", "out")
    op += layer(
        "ip", "InnerProduct", "out", more="inner_product_param { num_output: 2 }"
    )
    net = emitted(op, {"x": x}, tmp_path, FORMATS[0], "TEST")
    slope, bias, *moving = (b.reshape(-1) for b in blobs(net))
    flat = x.reshape(3, 60, 1, 1)
    (top,), _ = bn_rules.pspnet_frozen(flat, slope, bias, moving, dout, 1e-5)
    weights, shift = blobs(net, "ip")
    passes = run(net, {"x": x}, {})
    assert error(passes.out["ip"], top.reshape(3, 60) @ weights.T + shift) <= 1e-5


UPSAMPLES = [
    # pooling, input plane, pooled plane, upsample, output plane
    ("kernel_size: 2 stride: 2", (8, 6), (4, 3), "scale: 2", (8, 6)),
    (
        "kernel_size: 2 stride: 2",
        (7, 5),
        (4, 3),
        "scale: 2 pad_out_h: true pad_out_w: true",
        (7, 5),
    ),
    ("kernel_size: 3 stride: 3", (6, 6), (2, 2), "scale_h: 3 scale_w: 4", (6, 8)),
    ("kernel_size: 3", (5, 4), (3, 2), "upsample_h: 5 upsample_w: 4", (5, 4)),
    ("kernel_size: 2 stride: 2", (4, 6), (2, 3), "", (4, 6)),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("pooling", "plane", "pooled", "param", "size"), UPSAMPLES)
def test_upsample(
    pooling: str,
    plane: tuple[int, int],
    pooled: tuple[int, int],
    param: str,
    size: tuple[int, int],
    form: str,
    tmp_path: Path,
) -> None:
    inputs, dout = {"x": normal(2, 3, *plane), "y": normal(2, 3, *pooled)}, Dout()
    text = layer("pool", "Pooling", "x", "pool mask", f"pooling_param {{ {pooling} }}")
    text += layer("op", "Upsample", "y mask", "out", f"upsample_param {{ {param} }}")
    net = emitted(text, inputs, tmp_path, form)
    mask = net.blob("mask", inputs)
    top, (dy,) = resampling_rules.unpooling(inputs["y"], mask, size, dout)
    passes = run(net, inputs, {"out": dout.drawn})
    check(passes, top, {"y": dy, "x": np.zeros_like(inputs["x"])})


@pytest.mark.parametrize("form", FORMATS)
def test_upsample_without_a_mask(form: str, tmp_path: Path) -> None:
    x, dout = normal(2, 3, 4, 5), Dout()
    op = layer("op", "Upsample", "x", "out", "upsample_param { scale: 3 }")
    top, (dx,) = resampling_rules.repetition(x, 3, dout)
    net = emitted(op, {"x": x}, tmp_path, form)
    check(run(net, {"x": x}, {"out": dout.drawn}), top, {"x": dx})


INTERPS = [
    # param, output plane, (cut in front, behind)
    ("height: 11 width: 3", (11, 3), (0, 0)),
    ("zoom_factor: 3", (19, 13), (0, 0)),
    ("shrink_factor: 2", (4, 3), (0, 0)),
    ("shrink_factor: 2 zoom_factor: 4", (13, 9), (0, 0)),
    ("shrink_factor: 2 zoom_factor: 4 height: 5 width: 6", (5, 6), (0, 0)),
    ("zoom_factor: 2 height: 5 width: 6", (13, 9), (0, 0)),
    ("zoom_factor: 2 pad_beg: -1 pad_end: -2", (7, 3), (1, 2)),
    ("height: 7 width: 5 pad_beg: -1 pad_end: -1", (7, 5), (1, 1)),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("param", "size", "cut"), INTERPS)
def test_interp(
    param: str, size: tuple[int, int], cut: tuple[int, int], form: str, tmp_path: Path
) -> None:
    x, dout = normal(2, 3, 7, 5), Dout()
    op = layer("op", "Interp", "x", "out", f"interp_param {{ {param} }}")
    net = emitted(op, {"x": x}, tmp_path, form)
    top, (dx,) = resampling_rules.interpolation(x, size, *cut, dout)
    check(run(net, {"x": x}, {"out": dout.drawn}), top, {"x": dx})


@pytest.mark.parametrize("form", FORMATS)
def test_interp_to_the_size_of_another_blob(form: str, tmp_path: Path) -> None:
    inputs, dout = {"x": normal(2, 3, 7, 5), "y": normal(2, 4, 9, 9)}, Dout()
    text = layer("op", "Interp", "x y", "out") + layer("rest", "Power", "y")
    net = emitted(text, inputs, tmp_path, form)
    top, (dx,) = resampling_rules.interpolation(inputs["x"], (9, 9), 0, 0, dout)
    passes = run(net, inputs, {"out": dout.drawn})
    check(passes, top, {"x": dx, "y": np.zeros_like(inputs["y"])})


ROIS = np.array(
    [[0, 1, 2, 9, 11], [1, 0, 0, 5, 4], [1, 6, 7, 13, 9], [0, 8, 3, 2, 5]], "float32"
)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("rank", [2, 4])
def test_roi_pooling(rank: int, form: str, tmp_path: Path) -> None:
    rois = ROIS.reshape(*ROIS.shape, *[1] * (rank - 2))
    inputs, dout = {"x": normal(2, 3, 8, 7), "rois": rois}, Dout()
    param = "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }"
    op = layer("op", "ROIPooling", "x rois", "out", param)
    net = emitted(op, inputs, tmp_path, form)
    top, dx = region_rules.roi_pooling(inputs["x"], ROIS, (2, 3), 0.5, dout)
    passes = run(net, inputs, {"out": dout.drawn})
    check(passes, top, {"x": dx, "rois": np.zeros_like(rois)})


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("rank", [2, 4])
def test_psroi_pooling(rank: int, form: str, tmp_path: Path) -> None:
    rois = ROIS.reshape(*ROIS.shape, *[1] * (rank - 2))
    inputs, dout = {"x": normal(2, 18, 8, 7), "rois": rois}, Dout()
    param = "psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 0.5 }"
    op = layer("op", "PSROIPooling", "x rois", "out", param)
    net = emitted(op, inputs, tmp_path, form)
    top, dx = region_rules.psroi_pooling(inputs["x"], ROIS, 2, 3, 0.5, dout)
    passes = run(net, inputs, {"out": dout.drawn})
    check(passes, top, {"x": dx, "rois": np.zeros_like(rois)})


TRANSFORMERS = [
    # param, output plane, fixed entries, whether the planes learn
    ("", (6, 5), (None,) * 6, True),
    ("output_H: 4 to_compute_dU: false", (4, 5), (None,) * 6, False),
    (
        "output_H: 3 output_W: 7 theta_1_2: 0 theta_2_1: 0.25",
        (3, 7),
        (None, 0.0, None, 0.25, None, None),
        True,
    ),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize(("param", "size", "fixed", "learns"), TRANSFORMERS)
def test_spatial_transformer(
    param: str,
    size: tuple[int, int],
    fixed: tuple[float | None, ...],
    learns: bool,
    rank: int,
    form: str,
    tmp_path: Path,
) -> None:
    numbers, dout = fixed.count(None), Dout()
    theta = normal(2, numbers, *[1] * (rank - 2))
    inputs = {"x": normal(2, 3, 6, 5), "theta": theta}
    op = layer("op", "SpatialTransformer", "x theta", "out", f"st_param {{ {param} }}")
    net = emitted(op, inputs, tmp_path, form)
    top, (dx, dtheta) = resampling_rules.spatial_transformer(
        inputs["x"], theta.reshape(2, numbers), size, fixed, dout
    )
    passes = run(net, inputs, {"out": dout.drawn})
    check(passes, top, {"x": dx * learns, "theta": dtheta.reshape(theta.shape)})
