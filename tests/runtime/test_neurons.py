"""Caffe's neurons: against Caffe's results, and against its loops in NumPy."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.neurons import (
    ELU,
    AbsVal,
    Clip,
    CReLU,
    Exp,
    Log,
    ReLU6,
    Swish,
    Threshold,
)

CASES = {
    "absval": AbsVal(),
    "bnll": keras.layers.Activation("softplus"),
    "clip": Clip(-0.5, 0.8),
    "elu": keras.layers.ELU(),
    "exp_base2": Exp(2.0, 0.5, 1.0),
    "exp_default": keras.layers.Activation("exponential"),
    "log_base10": Log(10.0, 2.0, 0.5),
    "swish": keras.layers.Activation("silu"),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name, caffe_case, check, vjp):
    case = caffe_case(name)
    out, (din,) = vjp(CASES[name], [case["in/data"]], case["dout/out"])
    check(out, case["out/out"])
    check(din, case["din/data"], 1e-4)


def test_threshold_case(caffe_case, check):
    case = caffe_case("threshold")
    check(Threshold(0.2)(case["in/data"]), case["out/out"], 0)


@pytest.mark.parametrize("threshold", [0.0, 0.5, -1.0])
def test_threshold_is_not_above_itself_and_has_no_gradient(threshold, vjp):
    x = np.array([-2, -1, -0.0, 0, 1e-30, 0.5, 0.6], "float32")
    out, (din,) = vjp(Threshold(threshold), [x], np.ones_like(x))
    np.testing.assert_array_equal(out, (x > threshold).astype("float32"))
    np.testing.assert_array_equal(din, np.zeros_like(x))


def absval(x):
    return np.abs(x), np.sign(x)


def clip(x, min, max):
    inside = (x >= min) & (x <= max)
    return np.maximum(min, np.minimum(x, max)), inside.astype("float64")


def elu(x, alpha=1.0, scale=1.0):
    """Forward_cpu and Backward_cpu of NVIDIA/caffe, elu_layer.cpp; scale 1 is BVLC's."""
    top = scale * (np.maximum(x, 0) + alpha * (np.exp(np.minimum(x, 0)) - 1))
    return top, scale * ((x > 0) + (alpha + top) * (x <= 0))


def exp(x, base=None, scale=1.0, shift=0.0):
    log_base = 1 if base is None else np.log(base)
    top = np.exp(log_base * scale * x) * np.exp(log_base * shift)
    return top, log_base * scale * top


def log(x, base=None, scale=1.0, shift=0.0):
    log_base = 1 if base is None else np.log(base)
    inner = scale * x + shift
    return np.log(inner) / log_base, scale / log_base / inner


def swish(x, beta):
    sigmoid = 1 / (1 + np.exp(-beta * x))
    top = x * sigmoid
    return top, beta * top + sigmoid * (1 - beta * top)


def relu6(x, negative_slope=0.0):
    """Forward_cpu and Backward_cpu of eric612/MobileNet-YOLO, relu6_layer.cpp."""
    top = np.minimum(np.maximum(x, 0) + negative_slope * np.minimum(x, 0), 6)
    return top, ((x > 0) + negative_slope * (x <= 0)) * (x < 6)


RULES = [
    (AbsVal, absval, {}),
    (Clip, clip, {"min": -1.0, "max": 2.0}),
    (Clip, clip, {"min": 0.0, "max": 0.0}),
    (Clip, clip, {"min": 2.0, "max": -1.0}),
    (ELU, elu, {}),
    (ELU, elu, {"alpha": 0.5, "scale": 1.2}),
    (ELU, elu, {"alpha": -2.0}),
    (keras.layers.ELU, elu, {"alpha": 0.5}),
    (keras.layers.ELU, elu, {"alpha": -2.0}),
    (Exp, exp, {}),
    (Exp, exp, {"base": 0.5, "scale": -2.0, "shift": 3.0}),
    (Exp, exp, {"base": 1.0}),
    (Log, log, {"shift": 9.0}),
    (Log, log, {"base": 0.3, "scale": -0.1, "shift": 7.0}),
    (Swish, swish, {"beta": -0.7}),
    (Swish, swish, {"beta": 0.0}),
    (ReLU6, relu6, {}),
    (ReLU6, relu6, {"negative_slope": 0.1}),
    (ReLU6, relu6, {"negative_slope": -3.0}),
]


@pytest.mark.parametrize(("layer_class", "rule", "settings"), RULES)
def test_rule(layer_class, rule, settings, check, vjp):
    x = np.array([-7, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 5.5, 6, 7], "float32")
    dy = np.random.default_rng(2).normal(size=x.shape).astype("float32")
    top, slope = rule(x.astype("float64"), **settings)
    out, (din,) = vjp(layer_class(**settings), [x], dy)
    check(out, top)
    check(din, slope * dy, 1e-4)


def bnll(x):
    expval = np.exp(np.minimum(x, 50))
    return np.logaddexp(x, 0), expval / (expval + 1)


@pytest.mark.parametrize(
    ("activation", "rule"),
    [
        ("softplus", bnll),
        ("elu", elu),
        ("exponential", exp),
        ("silu", lambda x: swish(x, 1.0)),
    ],
)
def test_stock_activations_at_corners_and_extremes(activation, rule, check, vjp):
    x = np.array([-100, -51, -20.5, -1e-30, -0.0, 0, 1e-30, 9, 20.5], "float32")
    if activation != "exponential":
        x = np.append(x, np.array([49, 51, 89, 300], "float32"))
    top, slope = rule(x.astype("float64"))
    out, (din,) = vjp(keras.layers.Activation(activation), [x], np.ones_like(x))
    check(out, top)
    check(din, slope, 1e-4)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_crelu_is_two_relus(axis, check, vjp):
    x = np.random.default_rng(3).normal(size=(2, 3, 4)).astype("float32")
    x[0, 0, 0] = 0
    above, below = np.where(x > 0, x, 0.1 * x), np.where(-x > 0, -x, -0.1 * x)
    expected = np.concatenate([above, below], axis)
    dy = np.random.default_rng(4).normal(size=expected.shape).astype("float32")
    layer = CReLU(axis, 0.1)
    out, (din,) = vjp(layer, [x], dy)
    check(out, expected)
    first, second = np.split(dy, 2, axis)
    slopes = np.where(x > 0, 1, 0.1), np.where(-x > 0, 1, 0.1)
    check(din, first * slopes[0] - second * slopes[1])
    assert layer.compute_output_shape(x.shape) == expected.shape


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives):
    common = {"dtype": policy}
    x = inputs = keras.Input((3,))
    x = keras.layers.Dense(4, **common)(x)
    for layer in (
        AbsVal(**common),
        Log(shift=2.0, **common),
        Clip(-0.5, 0.8, **common),
        ELU(0.5, 1.1, **common),
        Exp(2.0, **common),
        Swish(0.5, **common),
        ReLU6(0.1, **common),
        CReLU(**common),
    ):
        x = layer(x)
    outputs = {"x": keras.layers.Dense(1, name="x")(x), "above": Threshold()(x)}
    model = keras.Model(inputs, outputs)
    data = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    model.compile("sgd", {"x": "mse", "above": None})
    targets = {"x": np.zeros((6, 1)), "above": np.zeros((6, 8))}
    history = model.fit(data, targets, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    survives(model, data)
