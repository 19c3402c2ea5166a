"""SegNet's BN, and Keras's BatchNormalization where PSPNet's BN becomes that."""

import keras
import numpy as np
import pytest
from bn_rules import pspnet_frozen, pspnet_train, segnet

from caffe2k.runtime.bn import BN

RNG = np.random.default_rng(11)
ORDERS = {-1: (0, 2, 3, 1), 1: (0, 1, 2, 3)}


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def drawn():
    made = []

    def dout_of(top):
        made.append(normal(*top.shape))
        return made[-1]

    return dout_of, made


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("axis", ORDERS)
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (1, 2, 3, 3)])
def test_segnet(shape, axis, statistics, training, check, vjp):
    order = ORDERS[axis]
    back = np.argsort(order)
    x, scale, shift = 1 + 2 * normal(*shape), normal(shape[1]), normal(shape[1])
    dout_of, made = drawn()
    (top, mean, variance), gradients = segnet(x, scale, shift, dout_of)
    layer = BN(axis=axis, return_statistics=statistics)
    layer.build(x.transpose(order).shape)
    layer.set_weights([scale, shift])
    dout = made[0].transpose(order)
    seeds = dout
    if statistics:
        seeds = [dout, *(normal(*s.transpose(order).shape) for s in (mean, variance))]
    out, found = vjp(
        lambda x: layer(x, training=training),
        [x.transpose(order)],
        seeds,
        layer.trainable_variables,
    )
    outputs = out if statistics else [out]
    for actual, expected in zip(outputs, (top, mean, variance), strict=False):
        check(actual.transpose(back), expected)
    found[0] = found[0].transpose(back)
    for actual, expected in zip(found, gradients, strict=True):
        check(actual, expected, 1e-4)
    given = layer.compute_output_shape(x.transpose(order).shape)
    assert (given if statistics else [given]) == [o.shape for o in outputs]


def test_segnet_refuses():
    with pytest.raises(ValueError, match="known size"):
        BN()(keras.Input((4, 4, None)))


def pspnet(momentum, epsilon, weights, shape, **arguments):
    layer = keras.layers.BatchNormalization(
        axis=1, momentum=momentum, epsilon=epsilon, **arguments
    )
    layer.build(shape)
    layer.set_weights(weights)
    return layer


def test_stock_layer_is_pspnets(check, vjp):
    shape = (4, 3, 5, 6)
    x, slope, bias = 1 + 2 * normal(*shape), normal(3), normal(3)
    moving = [normal(3), RNG.uniform(0.5, 2, 3).astype("float32")]
    dout_of, made = drawn()
    (top, *kept), gradients = pspnet_train(x, slope, bias, moving, dout_of, 0.95, 1e-5)
    layer = pspnet(0.95, 1e-5, [slope, bias, *moving], shape)
    out, found = vjp(
        lambda x: layer(x, training=True), [x], made[0], layer.trainable_variables
    )
    check(out, top)
    for actual, expected in zip(found, gradients, strict=True):
        check(actual, expected, 1e-4)
    for actual, expected in zip(layer.get_weights()[2:], kept, strict=True):
        check(actual, expected)


def test_stock_layer_frozen(check, vjp):
    shape = (4, 3, 5, 6)
    x, slope, bias = normal(*shape), normal(3), normal(3)
    moving = [normal(3), RNG.uniform(0.5, 2, 3).astype("float32")]
    dout_of, made = drawn()
    (top,), (dx,) = pspnet_frozen(x, slope, bias, moving, dout_of, 1e-5)
    layer = pspnet(0.95, 1e-5, [slope, bias, *moving], shape, trainable=False)
    out, (found,) = vjp(lambda x: layer(x, training=True), [x], made[0])
    check(out, top)
    check(found, dx, 1e-4)
    assert layer.trainable_weights == []
    for actual, expected in zip(layer.get_weights()[2:], moving, strict=True):
        check(actual, expected, 0)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives):
    inputs = keras.Input((4, 5, 2))
    x = keras.layers.Conv2D(3, 1, dtype=policy)(inputs)
    x, mean, variance = BN(return_statistics=True, dtype=policy)(x)
    x = BN(1e-10, scale_initializer="ones", dtype=policy)(x)
    model = keras.Model(inputs, {"x": x, "mean": mean, "variance": variance})
    data = normal(4, 4, 5, 2)
    model.compile("sgd", {"x": "mse", "mean": None, "variance": None})
    model.fit(data, {"x": np.zeros((4, 4, 5, 3))}, batch_size=4, verbose=0)
    survives(model, data)
