"""NVIDIA's BatchNorm with scale and bias, against a NumPy reading of its rule."""

import keras
import numpy as np
import pytest

from caffe2k.pipeline import Options
from caffe2k.runtime.scaled_norm import ScaledBatchNorm
from caffe2k.schema import caffe_pb2
from caffe2k.translation import translate
from tests.conformance.emitted import imported

RNG = np.random.default_rng(7)
ORDERS = {-1: (0, 2, 3, 1), 1: (0, 1, 2, 3)}


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


class Reference:
    """NVIDIA/caffe, batch_norm_layer.cpp: Forward_cpu and Backward_cpu."""

    def __init__(self, blobs, eps, fraction):
        self.mean, self.var, _, self.scale, self.bias = (b.copy() for b in blobs)
        self.eps, self.fraction, self.iter = max(eps, 1e-5), fraction, 0

    def train(self, x, dout):
        axes = (0, 2, 3)
        mean, var = x.mean(axes), x.var(axes)
        inverse = self.spread(1 / np.sqrt(var + self.eps))
        y = (x - self.spread(mean)) * inverse
        if self.iter > 1:
            kept = self.fraction
            self.mean = kept * self.mean + (1 - kept) * mean
            self.var = kept * self.var + (1 - kept) * var
        else:
            self.mean, self.var = mean, var
        self.iter += 1
        dy = dout * self.spread(self.scale)
        inner = dy - self.spread(dy.mean(axes)) - self.spread((dy * y).mean(axes)) * y
        return self.scaled(y), inner * inverse, (dout * y).sum(axes), dout.sum(axes)

    def test(self, x):
        spread = self.spread
        y = (x - spread(self.mean)) / np.sqrt(spread(self.var) + self.eps)
        return self.scaled(y)

    def scaled(self, y):
        return y * self.spread(self.scale) + self.spread(self.bias)

    @staticmethod
    def spread(values):
        return values.reshape(1, -1, 1, 1)


def blobs(channels, correction):
    var = np.abs(normal(channels)) + 0.5
    counted = np.full(1, correction, "float32")
    return [normal(channels), var, counted, normal(channels), normal(channels)]


@pytest.mark.parametrize("axis", ORDERS)
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (1, 2, 1, 3), (2, 1, 4, 4)])
@pytest.mark.parametrize(("eps", "fraction"), [(1e-4, 0.9), (0.1, 0.99)])
def test_training_and_testing(shape, axis, eps, fraction, check, vjp):
    order = ORDERS[axis]
    back = np.argsort(order)
    start = blobs(shape[1], 0)
    reference = Reference(start, eps, fraction)
    layer = ScaledBatchNorm(epsilon=eps, moving_average_fraction=fraction, axis=axis)
    layer.build(tuple(shape[i] for i in order))
    for weight, value in zip(
        (layer.mean, layer.variance, layer.correction, layer.scale, layer.bias),
        start,
        strict=True,
    ):
        weight.assign(value)
    for _ in range(4):
        x, dout = 1 + 2 * normal(*shape), normal(*shape)
        expected, *gradients = reference.train(x, dout)
        out, found = vjp(
            lambda x: layer(x, training=True),
            [x.transpose(order)],
            dout.transpose(order),
            layer.trainable_variables,
        )
        check(out.transpose(back), expected)
        found[0] = found[0].transpose(back)
        for actual, wanted in zip(found, gradients, strict=True):
            check(actual, wanted, 1e-4)
        # vjp runs the layer more than once on some backends: its averages are ours.
        layer.mean.assign(reference.mean)
        layer.variance.assign(reference.var)
        tested = layer(x.transpose(order))
        check(tested, reference.test(x).transpose(order))


@pytest.mark.parametrize("batches", [1, 2, 3, 5])
def test_the_first_two_batches_replace_the_averages(batches, check):
    start = blobs(3, 0)
    reference = Reference(start, 1e-5, 0.9)
    layer = ScaledBatchNorm(moving_average_fraction=0.9, axis=1)
    layer.build((None, 3, 2, 2))
    for _ in range(batches):
        x = 1 + normal(4, 3, 2, 2)
        reference.train(x, x)
        layer(x, training=True)
    check(layer.mean, reference.mean)
    check(layer.variance, reference.var)


def test_ported_averages_go_on(check):
    layer = ScaledBatchNorm(moving_average_fraction=0.75, axis=1)
    layer.build((None, 3, 2, 2))
    mean, var, correction, *_ = blobs(3, 1)
    layer.mean.assign(mean)
    layer.variance.assign(var)
    layer.correction.assign(correction)
    x = normal(4, 3, 2, 2)
    layer(x, training=True)
    check(layer.mean, 0.75 * mean + 0.25 * x.mean((0, 2, 3)))
    check(layer.variance, 0.75 * var + 0.25 * x.var((0, 2, 3)))
    check(layer.correction, [1])


def test_config_and_save(tmp_path, check):
    inputs = keras.Input((2, 2, 3))
    layer = ScaledBatchNorm(
        scale_initializer=keras.initializers.Constant(1.5),
        bias_initializer="ones",
        epsilon=0.25,
    )
    model = keras.Model(inputs, layer(inputs))
    x = normal(2, 2, 2, 3)
    check(model(x), x / 0.5 * 1.5 + 1)
    path = tmp_path / "model.keras"
    model.save(path)
    check(keras.models.load_model(path)(x), x / 0.5 * 1.5 + 1)


NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn"
  batch_norm_param { scale_bias: true eps: 0.0001 use_global_stats: true } }
layer { name: "flat" type: "Flatten" bottom: "bn" top: "flat" }
layer { name: "bn2" type: "BatchNorm" bottom: "bn" top: "bn"
  batch_norm_param { eps: 0 bias_filler { value: 3 } } }
"""


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_ported(data_format, tmp_path, check):
    (tmp_path / "net.prototxt").write_text(NET, encoding="utf-8")
    net, given = caffe_pb2.NetParameter(), {}
    for name in ("bn", "bn2"):
        given[name] = blobs(3, 1)
        layer = net.layer.add(name=name, type="BatchNorm")
        for blob in given[name]:
            layer.blobs.add(data=blob).shape.dim.append(len(blob))
    weights = tmp_path / "net.caffemodel"
    weights.write_bytes(net.SerializeToString())
    translation = translate(
        tmp_path / "net.prototxt",
        weights=weights,
        options=Options(data_format=data_format),
    )
    translation.write(tmp_path / "keras")
    with imported(tmp_path / "keras", "model") as module:
        model = module.build_model()
    model.load_weights(tmp_path / "keras" / translation.weights_file, by_name=True)
    x = normal(2, 3, 4, 5)
    is_last = data_format == "channels_last"
    out = model(x.transpose(0, 2, 3, 1) if is_last else x)
    first = Reference(given["bn"], 1e-4, 0.999).test(x)
    second = Reference(given["bn2"], 0, 0.999).test(first)
    check(out["flat"], first.reshape(2, -1))
    check(out["bn"], second.transpose(0, 2, 3, 1) if is_last else second)
