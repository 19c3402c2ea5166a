"""Caffe's elementwise layers: against Caffe's results and at its special values."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.elementwise import (
    Bias,
    BiasBy,
    Maximum,
    Power,
    PReLU,
    ReLU,
    Scale,
    ScaleBy,
    WeightedSum,
)

RNG = np.random.default_rng(9)
FORMATS = {"channels_last": (0, 2, 3, 1), "channels_first": (0, 1, 2, 3)}

INPUTS_ONLY = {
    "eltwise_max": (Maximum(), "ab"),
    "eltwise_max3": (Maximum(), "abc"),
    "eltwise_sum_coeff": (WeightedSum([1, -1]), "ab"),
    "eltwise_prod": (keras.layers.Multiply(), "ab"),
    "eltwise_prod3_unstable": (keras.layers.Multiply(), "abc"),
    "power_fraction": (Power(0.5, 2, 1), ["data"]),
    "power_square": (Power(2, 0.5, 0.3), ["data"]),
    "relu": (keras.layers.ReLU(), ["data"]),
    "relu_leaky": (ReLU(0.1), ["data"]),
}


@pytest.mark.parametrize("name", INPUTS_ONLY)
def test_case_without_weights(name, caffe_case, check, vjp):
    layer, bottoms = INPUTS_ONLY[name]
    case = caffe_case(name)
    inputs = [case[f"in/{b}"] for b in bottoms]
    out, gradients = vjp(
        lambda *x: layer(x[0] if len(x) == 1 else list(x)), inputs, case["dout/out"]
    )
    check(out, case["out/out"])
    for bottom, gradient in zip(bottoms, gradients, strict=True):
        check(gradient, case[f"din/{bottom}"], 1e-4)


def keras_axes(axes, order):
    """Caffe's axes of a blob that `order` transposes, as Keras's axes."""
    return [order.index(a) for a in axes]


LEARNED = {
    "scale_axis1_all": (lambda axes: Scale(axes, use_bias=True), (1, 2, 3)),
    "scale_axis2": (Scale, (2,)),
    "scale_channel": (Scale, (1,)),
    "scale_scalar": (Scale, ()),
    "bias_channel": (Bias, (1,)),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", LEARNED)
def test_learned_case(name, data_format, caffe_case, check, vjp):
    make, axes = LEARNED[name]
    case, order = caffe_case(name), FORMATS[data_format]
    layer_name = "op" if name.startswith("bias") else "sc"
    axes = keras_axes(axes, order)
    # Caffe's blob has its axes in Caffe's order, the layer's weight in Keras's.
    back = np.argsort(axes)
    layer = make(sorted(axes))
    data, dout = (case[k].transpose(order) for k in ("in/data", "dout/out"))
    layer.build(data.shape)
    blobs = [case[f"param/{layer_name}/{i}"] for i in range(len(layer.weights))]
    layer.set_weights([blob.transpose(back) for blob in blobs])
    out, (din, *dparams) = vjp(layer, [data], dout, layer.weights)
    check(out, case["out/out"].transpose(order))
    check(din, case["din/data"].transpose(order), 1e-4)
    for i, gradient in enumerate(dparams):
        expected = case[f"dparam/{layer_name}/{i}"].transpose(back)
        check(gradient, expected, 1e-4)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    ("name", "layer_class", "second", "axes"),
    [
        ("scale_two_bottoms", ScaleBy, "s", (0, 1)),
        ("bias_two_bottoms", BiasBy, "b", (1, 2)),
    ],
)
def test_two_bottoms(
    name, layer_class, second, axes, data_format, caffe_case, check, vjp
):
    case, order = caffe_case(name), FORMATS[data_format]
    layer = layer_class(keras_axes(axes, order))
    inputs = [case["in/data"].transpose(order), case[f"in/{second}"]]
    out, gradients = vjp(
        lambda x, s: layer([x, s]), inputs, case["dout/out"].transpose(order)
    )
    check(out, case["out/out"].transpose(order))
    check(gradients[0], case["din/data"].transpose(order), 1e-4)
    check(gradients[1], case[f"din/{second}"], 1e-4)


PRELU_CASES = {
    "prelu_2d": (None, (0, 1)),
    "prelu_channel": ([1, 2], (0, 2, 3, 1)),
    "prelu_shared": ([1, 2, 3], (0, 1, 2, 3)),
}


@pytest.mark.parametrize("name", PRELU_CASES)
def test_prelu_case(name, caffe_case, check, vjp):
    shared_axes, order = PRELU_CASES[name]
    case, layer = caffe_case(name), PReLU(shared_axes)
    data, dout = (case[k].transpose(order) for k in ("in/data", "dout/out"))
    layer.build(data.shape)
    layer.set_weights([case["param/op/0"].reshape(layer.alpha.shape)])
    out, (din, dalpha) = vjp(layer, [data], dout, layer.weights)
    check(out, case["out/out"].transpose(order))
    check(din, case["din/data"].transpose(order), 1e-4)
    check(dalpha.reshape(-1), case["dparam/op/0"].reshape(-1), 1e-4)


def test_gradients_at_zero(vjp):
    x = np.array([[-1.0, -0.0, 0.0, 2.0]], "float32")
    slopes = [0.25, 0.25, 0.25, 1.0]
    out, (din,) = vjp(ReLU(0.25), [x])
    np.testing.assert_array_equal([*out, *din], [[-0.25, 0, 0, 2], slopes])
    layer = PReLU(shared_axes=[1])
    layer.build(x.shape)
    _, (din, dalpha) = vjp(layer, [x], variables=layer.weights)
    np.testing.assert_array_equal(din, [slopes])
    np.testing.assert_array_equal(dalpha, [-1])
    # Where the slope is 0 the stock layer has Caffe's gradient on every backend.
    _, (din,) = vjp(keras.layers.ReLU(), [x])
    np.testing.assert_array_equal(din, [[0, 0, 0, 1]])


def test_maximum_at_ties(vjp):
    a, b, c = np.array([[1, 2, 2, 0], [1, 0, 2, 0], [1, 2, 3, 0]], "float32")
    out, gradients = vjp(lambda *x: Maximum()(list(x)), [a, b, c])
    np.testing.assert_array_equal(out, [1, 2, 3, 0])
    np.testing.assert_array_equal(gradients, [[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]])


@pytest.mark.parametrize("power", [-1.5, -1, 0, 0.5, 1, 2, 3])
@pytest.mark.parametrize("scale", [1, 0, 0.7])
@pytest.mark.parametrize("shift", [0, 4])
def test_power_rule(power, scale, shift, check, vjp):
    x = RNG.uniform(0.5, 2, (3, 4)).astype("float32")
    out, (din,) = vjp(Power(power, scale, shift), [x])
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.power(np.float64(shift) + scale * x.astype("float64"), power)
        derivative = power * scale * expected / (shift + scale * x)
    if power * scale == 0:
        np.testing.assert_array_equal(out, np.float32(expected))
        np.testing.assert_array_equal(din, 0)
    else:
        check(out, expected)
        check(din, derivative, 1e-4)


def test_power_of_negative_values(check, vjp):
    x = np.array([-1.5, -0.5, 0.0], "float32")
    for power in (2, 3):
        out, (din,) = vjp(Power(power), [x])
        check(out, x**power)
        check(din, power * x ** (power - 1))
    # A constant does not look at its input.
    out, (din,) = vjp(Power(2, 0, 3), [np.array([np.inf, np.nan], "float32")])
    np.testing.assert_array_equal([out, din], [[9, 9], [0, 0]])
    assert np.isnan(keras.ops.convert_to_numpy(Power(0.5, 0, -1)(x))).all()


def test_a_constant_power_still_trains_what_is_below_it():
    # Without a gradient Keras would refuse, or leave weight decay out.
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), Power(0)])
    model.compile(keras.optimizers.SGD(1.0, weight_decay=0.5), "mse")
    before = model.layers[0].get_weights()[0]
    model.fit(np.ones((2, 3)), np.zeros((2, 2)), verbose=0)
    np.testing.assert_allclose(model.layers[0].get_weights()[0], before / 2)


def test_axes_need_not_be_sorted(check):
    x = RNG.normal(size=(2, 3, 4)).astype("float32")
    s = RNG.normal(size=(4, 2)).astype("float32")
    check(ScaleBy([2, 0])([x, s]), x * s.T[:, None, :])
    check(BiasBy([2, 0])([x, s]), x + s.T[:, None, :])


@pytest.mark.parametrize(
    "call",
    [
        lambda: WeightedSum([1, 2])([np.zeros(2)] * 3),
        lambda: Scale([2, 1])(np.zeros((1, 2, 3))),
        lambda: Scale([0])(keras.Input((2,))),
        lambda: ScaleBy([1])([np.zeros((2, 3)), np.zeros(2)]),
        lambda: BiasBy([1])([np.zeros((2, 3)), np.zeros((2, 3))]),
    ],
)
def test_refuses(call):
    with pytest.raises(ValueError, match=r"coefficient|axes"):
        call()


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives):
    common = {"dtype": policy}
    inputs = keras.Input((2, 3, 4))
    x = Scale([1, 3], use_bias=True, bias_initializer="ones", **common)(inputs)
    x = Bias([3], **common)(Scale([], **common)(x))
    x = PReLU([1, 2], **common)(x)
    y = ReLU(0.5, **common)(Power(2.0, 0.1, 1.0, **common)(x))
    z = WeightedSum([0.5, 2], **common)([x, y])
    x = Maximum(**common)([x, y, z])
    s = keras.layers.GlobalAveragePooling2D(**common)(x)
    x = BiasBy([0, 3], **common)([ScaleBy([0, 3], **common)([x, s]), s])
    model = keras.Model(inputs, x)
    model.compile("sgd", "mse")
    data = RNG.normal(size=(7, 2, 3, 4)).astype("float32")
    # Batches of 4 and 3: the compiled step sees an unknown batch size.
    history = model.fit(data, data, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    survives(model, data)
