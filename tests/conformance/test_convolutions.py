"""Deconvolution and depthwise convolutions through emitted code.

Expected are the NumPy readings of the C++ in tests/runtime/convolution_rules.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.conformance.against_rules import FORMATS, Dout, blobs, check, emitted, normal
from tests.conformance.emitted import EmittedNet
from tests.conformance.gradients import run
from tests.conformance.suite import error
from tests.runtime import convolution_rules
from tests.unit.nets import layer

Rule = Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def convolution_passes(
    kind: str,
    param: str,
    shape: tuple[int, ...],
    geometry: tuple,
    folder: Path,
    form: str,
) -> tuple[EmittedNet, np.ndarray, Dout, tuple]:
    """The net, its input, and what the rule makes of them."""
    x, dout = normal(*shape), Dout()
    op = layer("op", kind, "x", "out", f"convolution_param {{ {param} }}")
    net = emitted(op, {"x": x}, folder, form)
    weights = blobs(net)
    bias = weights[1] if len(weights) > 1 else None
    rule: Rule = (
        convolution_rules.deconvolution
        if kind == "Deconvolution"
        else convolution_rules.convolution
    )
    return net, x, dout, rule(x, weights[0], bias, *geometry, dout)


DECONVOLUTIONS = [
    # param, shape, (stride, pad, dilation, group)
    ("kernel_size: 4 stride: 2 pad: 1", (2, 3, 4, 5), ((2, 2), (1, 1), (1, 1), 1)),
    ("kernel_size: 3 stride: 2", (2, 3, 4, 5), ((2, 2), (0, 0), (1, 1), 1)),
    ("kernel_size: 2 stride: 3", (2, 3, 4, 5), ((3, 3), (0, 0), (1, 1), 1)),
    ("kernel_size: 3 stride: 4 pad: 2", (1, 3, 4, 5), ((4, 4), (2, 2), (1, 1), 1)),
    ("kernel_size: 1 stride: 2", (1, 3, 2, 2), ((2, 2), (0, 0), (1, 1), 1)),
    (
        "kernel_h: 2 kernel_w: 5 stride_h: 3 stride_w: 1 pad_h: 0 pad_w: 2",
        (2, 3, 4, 5),
        ((3, 1), (0, 2), (1, 1), 1),
    ),
    (
        "kernel_size: 2 kernel_size: 4 stride: 1 stride: 2 pad: 0 pad: 1",
        (2, 2, 4, 5),
        ((1, 2), (0, 1), (1, 1), 1),
    ),
    ("kernel_size: 3 dilation: 2 pad: 1", (2, 3, 4, 5), ((1, 1), (1, 1), (2, 2), 1)),
    (
        "kernel_size: 3 stride: 2 dilation: 2 dilation: 1",
        (2, 3, 4, 5),
        ((2, 2), (0, 0), (2, 1), 1),
    ),
    (
        "kernel_size: 4 stride: 2 pad: 1 group: 2",
        (2, 4, 3, 3),
        ((2, 2), (1, 1), (1, 1), 2),
    ),
    (
        "kernel_size: 2 stride: 3 dilation: 2 group: 6 bias_term: false",
        (2, 6, 3, 3),
        ((3, 3), (0, 0), (2, 2), 6),
    ),
    ("kernel_size: 4 stride: 2 pad: 1", (2, 3, 5), ((2,), (1,), (1,), 1)),
    ("kernel_size: 3 stride: 2 pad: 1", (2, 3, 5), ((2,), (1,), (1,), 1)),
    ("kernel_size: 2 stride: 3", (2, 3, 5), ((3,), (0,), (1,), 1)),
    (
        "kernel_size: 3 stride: 2 pad: 1",
        (1, 3, 3, 2, 3),
        ((2,) * 3, (1,) * 3, (1,) * 3, 1),
    ),
    (
        "kernel_size: 2 stride: 2 group: 3",
        (1, 3, 3, 2, 3),
        ((2,) * 3, (0,) * 3, (1,) * 3, 3),
    ),
]


@pytest.mark.parametrize(("param", "shape", "geometry"), DECONVOLUTIONS)
def test_deconvolution(
    param: str, shape: tuple[int, ...], geometry: tuple, tmp_path: Path
) -> None:
    net, x, dout, (top, dx, dw, db) = convolution_passes(
        "Deconvolution", f"num_output: 6 {param}", shape, geometry, tmp_path, FORMATS[0]
    )
    gradients = {"x": dx, "0": dw, "1": db}
    if "bias_term" in param:
        del gradients["1"]
    check(run(net, {"x": x}, {"out": dout.drawn}), top, gradients)


@pytest.mark.parametrize(("param", "shape", "geometry"), DECONVOLUTIONS)
def test_deconvolution_channels_first(
    param: str, shape: tuple[int, ...], geometry: tuple, tmp_path: Path
) -> None:
    """Compiled, as fit() does it: TensorFlow's CPU has no such kernels of its own."""
    net, x, _, (top, *_) = convolution_passes(
        "Deconvolution", f"num_output: 6 {param}", shape, geometry, tmp_path, FORMATS[1]
    )
    out = tf.function(net.model, jit_compile=True)(net.to_keras(x))
    assert error(net.to_caffe(np.asarray(out)), top) <= 1e-5


def test_deconvolution_of_several_bottoms(tmp_path: Path) -> None:
    inputs = {"x": normal(2, 3, 4, 4), "y": normal(2, 3, 4, 4)}
    param = "convolution_param { num_output: 2 kernel_size: 3 stride: 2 }"
    op = layer("op", "Deconvolution", "x y", "out other", param)
    net = emitted(op, inputs, tmp_path, FORMATS[0])
    results = [
        convolution_rules.deconvolution(
            x, *blobs(net), (2, 2), (0, 0), (1, 1), 1, np.ones_like
        )
        for x in inputs.values()
    ]
    ones = np.ones_like(results[0][0], "float32")
    passes = run(net, inputs, {"out": ones, "other": ones})
    (top, dx, dw, db), (other, dy, dw2, db2) = results
    assert error(passes.out["other"], other) <= 1e-5
    check(passes, top, {"x": dx, "y": dy, "0": dw + dw2, "1": db + db2})


DEPTHWISE = [
    # type, param, shape, (stride, pad, dilation, group)
    (
        "ConvolutionDepthwise",
        "num_output: 9 kernel_size: 3 pad: 1 stride: 1",
        (2, 4, 5, 6),
        ((1, 1), (1, 1), (1, 1), 4),
    ),
    (
        "ConvolutionDepthwise",
        "kernel_h: 3 kernel_w: 2 pad: 0 stride: 2 group: 3 dilation: 2 bias_term: false",
        (2, 4, 8, 7),
        ((2, 2), (0, 0), (2, 2), 4),
    ),
    (
        "ConvolutionDepthwise",
        "kernel_size: 3 pad: 1 stride_h: 2 stride_w: 1",
        (2, 4, 8, 7),
        ((2, 1), (1, 1), (1, 1), 4),
    ),
    (
        "ConvolutionDepthwise",
        "kernel_size: 3 pad: 1 stride: 2",
        (2, 1, 8, 7),
        ((2, 2), (1, 1), (1, 1), 1),
    ),
    (
        "DepthwiseConvolution",
        "num_output: 8 kernel_size: 3 pad: 1 stride: 2",
        (2, 4, 5, 6),
        ((2, 2), (1, 1), (1, 1), 4),
    ),
    (
        "DepthwiseConvolution",
        "num_output: 4 kernel_size: 3 group: 2 dilation: 2",
        (2, 4, 6, 6),
        ((1, 1), (0, 0), (2, 2), 2),
    ),
]


@pytest.mark.parametrize(("kind", "param", "shape", "geometry"), DEPTHWISE)
def test_depthwise(
    kind: str, param: str, shape: tuple[int, ...], geometry: tuple, tmp_path: Path
) -> None:
    net, x, dout, (top, dx, dw, db) = convolution_passes(
        kind, param, shape, geometry, tmp_path, FORMATS[0]
    )
    gradients = {"x": dx, "0": dw, "1": db}
    if "bias_term" in param:
        del gradients["1"]
    check(run(net, {"x": x}, {"out": dout.drawn}), top, gradients)


TOO_SMALL = [
    # param, shape, (stride, pad, dilation, group)
    ("kernel_size: 3 stride: 2", (2, 3, 2, 5), ((2, 2), (0, 0), (1, 1), 1)),
    ("kernel_size: 3 stride: 3 dilation: 2", (2, 3, 3, 4), ((3, 3), (0, 0), (2, 2), 1)),
    ("kernel_size: 3 stride: 2 group: 6", (2, 6, 2, 2), ((2, 2), (0, 0), (1, 1), 6)),
    ("kernel_size: 6 stride: 2 pad: 1", (2, 3, 3), ((2,), (1,), (1,), 1)),
]


@pytest.mark.parametrize(("param", "shape", "geometry"), TOO_SMALL)
def test_input_that_is_smaller_than_the_kernel(
    param: str, shape: tuple[int, ...], geometry: tuple, tmp_path: Path
) -> None:
    net, x, dout, (top, dx, dw, db) = convolution_passes(
        "Convolution", f"num_output: 6 {param}", shape, geometry, tmp_path, FORMATS[0]
    )
    assert 1 in top.shape[2:]
    check(run(net, {"x": x}, {"out": dout.drawn}), top, {"x": dx, "0": dw, "1": db})


AXES = [
    # type, param, shape, axis, (stride, pad, dilation, group)
    (
        "Convolution",
        "kernel_size: 3 pad: 1 axis: 2",
        (2, 3, 4, 5, 4),
        2,
        ((1,) * 2, (1,) * 2, (1,) * 2, 1),
    ),
    (
        "Convolution",
        "kernel_size: 3 stride: 2 group: 2 axis: -2",
        (2, 3, 4, 7),
        2,
        ((2,), (0,), (1,), 2),
    ),
    (
        "Convolution",
        "kernel_size: 2 axis: -3",
        (2, 3, 5, 4),
        1,
        ((1,) * 2, (0,) * 2, (1,) * 2, 1),
    ),
    (
        "Deconvolution",
        "kernel_size: 4 stride: 2 pad: 1 axis: 2",
        (2, 2, 3, 3, 2),
        2,
        ((2,) * 2, (1,) * 2, (1,) * 2, 1),
    ),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("kind", "param", "shape", "axis", "geometry"), AXES)
def test_axis(
    kind: str,
    param: str,
    shape: tuple[int, ...],
    axis: int,
    geometry: tuple,
    form: str,
    tmp_path: Path,
) -> None:
    """The axes before the channels are samples (BaseConvolutionLayer::Reshape)."""
    x, dout = normal(*shape), Dout()
    settings = f"convolution_param {{ num_output: 4 {param} }}"
    net = emitted(layer("op", kind, "x", "out", settings), {"x": x}, tmp_path, form)
    rule: Rule = (
        convolution_rules.deconvolution
        if kind == "Deconvolution"
        else convolution_rules.convolution
    )
    images = x.reshape(-1, *shape[axis:])
    top, dx, dw, db = rule(images, *blobs(net), *geometry, dout)
    sizes = (*shape[:axis], *top.shape[1:])
    passes = run(
        net,
        {"x": x},
        {"out": dout.drawn.reshape(sizes)},
        compiled=form == "channels_first",
    )
    gradients = {"x": dx.reshape(shape), "0": dw, "1": db}
    check(passes, top.reshape(sizes), gradients)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize("activation", ["", "ReLU"])
def test_as_many_channels_as_columns(
    kind: str, activation: str, tmp_path: Path
) -> None:
    """Keras would add the bias along the columns, with channels first."""
    x, dout = normal(2, 3, 6, 6), Dout()
    outputs = 4 if kind == "Convolution" else 8
    settings = f"convolution_param {{ num_output: {outputs} kernel_size: 3 }}"
    text = layer("op", kind, "x", "out", settings)
    if activation:
        text += layer("r", activation, "out", "out")
    net = emitted(text, {"x": x}, tmp_path, "channels_first")
    rule: Rule = getattr(convolution_rules, kind.lower())
    top, dx, dw, db = rule(x, *blobs(net), (1, 1), (0, 0), (1, 1), 1, dout)
    assert top.shape[1] == top.shape[3]
    if activation:
        found = run(net, {"x": x}, {}, compiled=True).out["out"]
        assert error(found, np.maximum(top, 0)) <= 1e-5
        return
    passes = run(net, {"x": x}, {"out": dout.drawn}, compiled=True)
    check(passes, top, {"x": dx, "0": dw, "1": db})
