"""MVN and Normalize: against Caffe's results, and against its matrices in NumPy."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.image_norm import MVN, Normalize
from tests.runtime.image_norm_rules import mvn, normalize

X = np.random.default_rng(1).normal(2, 3, (2, 3, 4, 5)).astype("float32")
DY = np.random.default_rng(2).normal(size=X.shape).astype("float32")
FORMATS = {"channels_last": (0, 2, 3, 1), "channels_first": (0, 1, 2, 3)}


@pytest.mark.parametrize("order", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("caffe_axes", [(2, 3), (1, 2, 3)])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("eps", [1e-9, 0.5])
def test_mvn_rule(eps, normalize, caffe_axes, order, check, vjp):
    top, bottom_diff = mvn(X, DY, caffe_axes, normalize, eps)
    layer = MVN(sorted(order.index(axis) for axis in caffe_axes), normalize, eps)
    out, (din,) = vjp(layer, [X.transpose(order)], DY.transpose(order))
    check(out, top.transpose(order))
    check(din, bottom_diff.transpose(order), 1e-4)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("mvn_default", MVN([2, 3])),
        ("mvn_across_channels", MVN([1, 2, 3], epsilon=0.01)),
    ],
)
def test_mvn_case(name, layer, caffe_case, check, vjp):
    case = caffe_case(name)
    out, (din,) = vjp(layer, [case["in/data"]], case["dout/out"])
    check(out, case["out/out"])
    check(din, case["din/data"], 1e-4)


def test_mvn_of_a_constant_has_a_gradient(vjp):
    _, (din,) = vjp(MVN([1], epsilon=0.5), [np.ones((1, 4), "float32")])
    np.testing.assert_array_equal(din, 0)


@pytest.mark.parametrize("order", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("across_spatial", [True, False])
@pytest.mark.parametrize("scale", [np.float32(3), np.array([2, -1, 0.5], "float32")])
def test_normalize_rule(scale, across_spatial, order, check, vjp):
    top, bottom_diff, scale_diff = normalize(X, DY, scale, across_spatial, 0.1)
    layer = Normalize(order.index(1), across_spatial, scale.ndim == 0, 0.1)
    layer.build(X.transpose(order).shape)
    layer.set_weights([scale])
    out, (din, dscale) = vjp(
        layer, [X.transpose(order)], DY.transpose(order), layer.weights
    )
    check(out, top.transpose(order))
    check(din, bottom_diff.transpose(order), 1e-4)
    check(dscale, scale_diff, 1e-4)


def test_normalize_needs_known_channels():
    with pytest.raises(ValueError, match="known size along axis"):
        Normalize(channel_shared=False)(keras.Input((4, None)))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives):
    common = {"dtype": policy}
    inputs = keras.Input((4, 5, 3))
    x = MVN([1, 2], **common)(inputs)
    x = Normalize(across_spatial=False, channel_shared=False, **common)(x)
    x = Normalize(**common)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
    data = X.transpose(0, 2, 3, 1)
    model.compile("sgd", "mse")
    history = model.fit(data, np.zeros((2, 1)), verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    survives(model, data)
