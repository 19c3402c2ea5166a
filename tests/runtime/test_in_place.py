"""InPlaceRun against Caffe's buffers, acted out in NumPy."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from caffe2k.runtime.in_place import InPlaceRun

STEPS = {
    "relu": ("ReLU", {}),
    "leaky": ("ReLU", {"negative_slope": 0.2}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("TanH", {}),
    "linear": ("Power", {"scale": -2.0, "shift": 0.3}),
    "square": ("Power", {"power": 2.0, "scale": 0.5, "shift": 1.0}),
    "cube": ("Power", {"power": 3.0}),
    "root": ("Power", {"power": 1.5, "scale": 0.1, "shift": 9.0}),
    "constant": ("Power", {"power": 0.0}),
    "shifted": ("Power", {"shift": 0.5}),
    "dropout": ("Dropout", {"rate": 0.5}),
    "bnll": ("BNLL", {}),
    "clip": ("Clip", {"min": -0.4, "max": 0.9}),
    "elu": ("ELU", {"alpha": 0.7}),
    "selu": ("ELU", {"alpha": 1.6, "scale": 1.05}),
    "exp": ("Exp", {"base": 2.0, "scale": 0.5, "shift": -0.3}),
    "log": ("Log", {"base": 3.0, "scale": 0.5, "shift": 4.0}),
    "swish": ("Swish", {"beta": 1.3}),
    "relu6": ("ReLU6", {"negative_slope": 0.1}),
}


class Buffers:
    """A blob's data and diff; layers that work in place share one of these."""

    def __init__(self, data):
        self.data = data.copy()
        self.diff = np.zeros_like(data)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def base_of(base=None, scale=1.0, shift=0.0):
    return 1 if base is None else np.log(base), scale, shift


def forward(kind, settings, bottom, top):
    """The Forward_cpu of each layer, in the order in which it reads and writes."""
    x = bottom.data
    if kind == "ReLU":
        slope = settings.get("negative_slope", 0.0)
        top.data[...] = np.maximum(x, 0) + slope * np.minimum(x, 0)
    elif kind == "Sigmoid":
        top.data[...] = sigmoid(x)
    elif kind == "TanH":
        top.data[...] = np.tanh(x)
    elif kind == "Power":
        power, scale, shift = powers(settings)
        top.data[...] = (shift + scale * x) ** power
    elif kind == "Dropout":
        top.data[...] = x
    else:
        return forward_of_others(kind, settings, bottom, top)
    return None


def forward_of_others(kind, settings, bottom, top):
    """The same; returns what the layer keeps in memory of its own."""
    x, kept = bottom.data, None
    if kind == "BNLL":
        top.data[...] = np.log(1 + np.exp(x))
    elif kind == "Clip":
        top.data[...] = np.clip(x, settings["min"], settings["max"])
    elif kind == "ELU":
        below = settings["alpha"] * (np.exp(np.minimum(x, 0)) - 1)
        top.data[...] = settings.get("scale", 1.0) * (np.maximum(x, 0) + below)
    elif kind == "Exp":
        log_base, scale, shift = base_of(**settings)
        top.data[...] = log_base * scale * x
        top.data[...] = np.exp(top.data) * np.exp(log_base * shift)
    elif kind == "Log":
        log_base, scale, shift = base_of(**settings)
        top.data[...] = np.log(scale * x + shift) / log_base
    elif kind == "Swish":
        kept = sigmoid(settings["beta"] * x)
        top.data[...] = x * kept
    else:
        leaky = np.maximum(x, 0) + settings["negative_slope"] * np.minimum(x, 0)
        top.data[...] = np.minimum(leaky, 6)
    return kept


def backward(kind, settings, bottom, top, kept=None):
    """The Backward_cpu of each layer; what it writes first, it may then read."""
    if kind == "ReLU":
        slope = settings.get("negative_slope", 0.0)
        above = (bottom.data > 0) + slope * (bottom.data <= 0)
        bottom.diff[...] = top.diff * above
    elif kind == "Sigmoid":
        bottom.diff[...] = top.diff * top.data * (1 - top.data)
    elif kind == "TanH":
        bottom.diff[...] = top.diff * (1 - top.data * top.data)
    elif kind == "Power":
        power_backward(settings, bottom, top)
    elif kind == "Dropout":
        bottom.diff[...] = top.diff
    else:
        backward_of_others(kind, settings, bottom, top, kept)


def backward_of_others(kind, settings, bottom, top, kept):
    x, y = bottom.data, top.data
    if kind == "BNLL":
        power = np.exp(np.minimum(x, 50))
        bottom.diff[...] = top.diff * power / (power + 1)
    elif kind == "Clip":
        inside = (x >= settings["min"]) & (x <= settings["max"])
        bottom.diff[...] = top.diff * inside
    elif kind == "ELU":
        slope = (x > 0) + (settings["alpha"] + y) * (x <= 0)
        bottom.diff[...] = settings.get("scale", 1.0) * top.diff * slope
    elif kind == "Exp":
        log_base, scale, _ = base_of(**settings)
        bottom.diff[...] = y * top.diff
        bottom.diff[...] *= log_base * scale
    elif kind == "Log":
        log_base, scale, shift = base_of(**settings)
        bottom.diff[...] = x
        bottom.diff[...] = scale / log_base / (scale * bottom.diff + shift)
        bottom.diff[...] = top.diff * bottom.diff
    elif kind == "Swish":
        beta = settings["beta"]
        bottom.diff[...] = top.diff * (beta * y + kept * (1 - beta * y))
    else:
        slope = (x > 0) + settings["negative_slope"] * (x <= 0)
        bottom.diff[...] = top.diff * slope * (x < 6)


def power_backward(settings, bottom, top):
    power, scale, shift = powers(settings)
    diff_scale = power * scale
    if diff_scale == 0 or power == 1:
        bottom.diff[...] = diff_scale
    elif power == 2:
        bottom.diff[...] = diff_scale * scale * bottom.data
        bottom.diff[...] += diff_scale * shift
    elif shift == 0:
        bottom.diff[...] = top.data / bottom.data
        bottom.diff[...] *= power
    else:
        bottom.diff[...] = scale * bottom.data + shift
        bottom.diff[...] = top.data / bottom.diff
        bottom.diff[...] *= diff_scale
    if diff_scale != 0:
        bottom.diff[...] = top.diff * bottom.diff


def powers(settings):
    defaults = {"power": 1.0, "scale": 1.0, "shift": 0.0}
    return tuple({**defaults, **settings}[name] for name in defaults)


def caffe(steps, x, dy, first_in_place):
    """The run's output, and the gradient that Caffe leaves at its input."""
    blob = Buffers(x)
    first = blob if first_in_place else Buffers(x)
    pairs = [(first, blob)] + [(blob, blob)] * (len(steps) - 1)
    kept = [
        forward(kind, settings, bottom, top)
        for (kind, settings), (bottom, top) in zip(steps, pairs, strict=True)
    ]
    output = blob.data.copy()
    blob.diff[...] = dy
    for (kind, settings), (bottom, top), own in reversed(
        list(zip(steps, pairs, kept, strict=True))
    ):
        backward(kind, settings, bottom, top, own)
    return output, first.diff


RUNS = [
    *itertools.product(STEPS),
    *itertools.product(STEPS, STEPS),
    *itertools.product(
        STEPS, ("linear", "sigmoid", "dropout"), ("leaky", "log", "swish", "dropout")
    ),
]


@pytest.mark.parametrize("first_in_place", [True, False])
def test_runs_follow_caffes_buffers(vjp, first_in_place):
    rng = np.random.default_rng(7)
    x = rng.uniform(0.2, 1.5, (2, 3)) * rng.choice([-1, 1], (2, 3))
    dy = rng.normal(size=(2, 3))
    for names in RUNS:
        steps = [STEPS[name] for name in names]
        with np.errstate(all="ignore"):
            output, gradient = caffe(steps, x, dy, first_in_place)
        if not np.isfinite(output).all() or not np.isfinite(gradient).all():
            continue
        layer = InPlaceRun(steps, first_in_place)
        found, (found_gradient,) = vjp(
            layer, [x.astype("float32")], dy.astype("float32")
        )
        np.testing.assert_allclose(found, output, 2e-5, 2e-5, err_msg=str(names))
        np.testing.assert_allclose(
            found_gradient, gradient, 2e-4, 2e-4, err_msg=str(names)
        )


def test_dropout_scales_what_it_keeps_and_the_gradient_alike(vjp):
    layer = InPlaceRun([("Sigmoid", {}), ("Dropout", {"rate": 0.4})], seed=3)
    x = np.linspace(-2, 2, 1000, dtype="float32").reshape(10, 100)
    output = ops.convert_to_numpy(layer(x, training=True))
    plain = 1 / (1 + np.exp(-x))
    kept = output != 0
    assert 0.5 < kept.mean() < 0.7
    np.testing.assert_allclose(output[kept], plain[kept] / 0.6, 1e-5)


def test_it_survives_serialization():
    steps = [("ReLU", {"negative_slope": 0.2}), ("Dropout", {"rate": 0.5})]
    model = keras.Sequential([keras.Input((3,)), InPlaceRun(steps, name="r")])
    again = keras.models.model_from_json(model.to_json())
    x = np.array([[-1.0, 0.0, 2.0]], "float32")
    np.testing.assert_array_equal(again(x), model(x))
    assert again.get_layer("r").steps == model.get_layer("r").steps
