"""ConvTranspose: against Caffe's results and a NumPy reading of deconv_layer.cpp."""

import keras
import numpy as np
import pytest
from convolution_rules import deconvolution

from caffe2k.runtime.deconvolution import ConvTranspose

RNG = np.random.default_rng(3)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def to_keras(kernel):
    """(in, out / groups, ...) as the layer's kernel."""
    return kernel.transpose(*range(2, kernel.ndim), 1, 0)


def from_keras(kernel):
    return kernel.transpose(-1, -2, *range(kernel.ndim - 2))


def compiled(function):
    """TensorFlow's CPU has no transposed convolution of channels-first images."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def check_layer(layer, x, w, b, expected, dout, order, check, vjp):
    layer.build(x.transpose(order).shape)
    layer.set_weights([to_keras(w)] if b is None else [to_keras(w), b])
    out, gradients = vjp(
        compiled(layer) if order == tuple(range(x.ndim)) else layer,
        [x.transpose(order)],
        dout.transpose(order),
        layer.trainable_variables,
    )
    back = np.argsort(order)
    top, dx, dw, db = expected
    assert layer.compute_output_shape(x.transpose(order).shape) == out.shape
    check(out.transpose(back), top)
    check(gradients[0].transpose(back), dx, 1e-4)
    check(from_keras(gradients[1]), dw, 1e-4)
    if b is not None:
        check(gradients[2], db, 1e-4)


CASES = {
    "deconv_bilinear_filler": (3, 4, 2, 1, 3),
    "deconv_group_all": (4, 4, 2, 1, 4),
    "deconv_k2_s2": (5, 2, 2, 0, 1),
    "deconv_k3_s2_p1": (3, 3, 2, 1, 1),
    "deconv_rect": (3, (4, 3), (2, 3), (1, 0), 1),
}


@pytest.mark.parametrize("name", CASES)
def test_caffe_case(name, caffe_case, check, vjp):
    filters, size, strides, padding, groups = CASES[name]
    case = caffe_case(name)
    w, b = case["param/op/0"], case.get("param/op/1")
    layer = ConvTranspose(
        filters, size, strides, padding, groups=groups, use_bias=b is not None
    )
    expected = [
        case.get(k) for k in ("out/out", "din/data", "dparam/op/0", "dparam/op/1")
    ]
    dout = case["dout/out"]
    check_layer(layer, case["in/data"], w, b, expected, dout, (0, 2, 3, 1), check, vjp)


def settings():
    """(rank, kernel, stride, pad, dilation, groups, inputs and outputs of a group)."""
    rng = np.random.default_rng(0)
    for i in range(18):
        axes = (2, 2, 1, 3)[i % 4]
        kernel, stride = rng.integers(1, 5, axes), rng.integers(1, 4, axes)
        dilation = rng.integers(1, 4, axes) if i % 3 else np.ones(axes, int)
        extent = stride * 2 + dilation * (kernel - 1) + 1
        pad = rng.integers(0, np.minimum(3, (extent - 1) // 2) + 1)
        groups, inputs, outputs = (int(v) for v in rng.integers(1, 4, 3))
        sizes = (tuple(map(int, v)) for v in (kernel, stride, pad, dilation))
        yield (*sizes, groups, inputs, outputs)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "dilation", "groups", "inputs", "outputs"),
    list(settings()),
)
def test_rule(
    kernel, stride, pad, dilation, groups, inputs, outputs, first, check, vjp
):
    axes = len(kernel)
    x = normal(2, groups * inputs, *(3, 4, 5)[:axes])
    w, b = normal(groups * inputs, outputs, *kernel), normal(groups * outputs)
    dout = {}
    expected = deconvolution(
        x,
        w,
        b,
        stride,
        pad,
        dilation,
        groups,
        lambda top: dout.setdefault("out", normal(*top.shape)),
    )
    layer = ConvTranspose(
        groups * outputs,
        kernel,
        stride,
        pad,
        dilation,
        groups,
        data_format="channels_first" if first else "channels_last",
    )
    rank = axes + 2
    order = tuple(range(rank)) if first else (0, *range(2, rank), 1)
    check_layer(layer, x, w, b, expected, dout["out"], order, check, vjp)


def test_refuses():
    with pytest.raises(ValueError, match="must divide"):
        ConvTranspose(4, 2, groups=3)
    with pytest.raises(ValueError, match="3 groups"):
        ConvTranspose(3, 2, groups=3)(np.zeros((1, 4, 4, 4), "float32"))
    for option in ("strides", "dilation_rate", "padding", "kernel_size"):
        layer = ConvTranspose(3, **{"kernel_size": 2, option: (1, -1)})
        with pytest.raises(ValueError, match=option):
            layer(np.zeros((1, 4, 4, 3), "float32"))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives):
    model = keras.Sequential(
        [
            keras.Input((3, 4, 4)),
            ConvTranspose(6, 3, 2, 1, 2, 2, activation="relu", dtype=policy),
            ConvTranspose(
                3, (2, 3), 1, 0, groups=3, use_bias=False, kernel_initializer="ones"
            ),
        ]
    )
    data = normal(4, 3, 4, 4)
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((4, *model.output_shape[1:])), verbose=0)
    survives(model, data)
