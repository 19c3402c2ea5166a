"""The LSTM of caffe-lstm, against a NumPy reading of junhyukoh/caffe-lstm."""

import numpy as np
import pytest

from caffe2k.runtime.flat_lstm import FlatLSTM
from caffe2k.schema import caffe_pb2
from caffe2k.translation import translate
from tests.conformance.emitted import imported

RNG = np.random.default_rng(5)


def normal(*shape):
    return RNG.normal(0, 0.7, shape).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Rule:
    """lstm_layer.cpp: Forward_cpu and Backward_cpu; blobs as Caffe has them."""

    def __init__(self, weight_i, weight_h, bias, streams, threshold=0.0):
        self.weight_i, self.weight_h, self.bias = weight_i, weight_h, bias
        self.streams, self.units = streams, weight_h.shape[1]
        self.threshold = threshold
        self.h_T = np.zeros((streams, self.units))
        self.c_T = np.zeros((streams, self.units))

    def forward(self, rows, clip=None):
        n = self.streams
        steps = len(rows) // n
        self.rows = rows.reshape(len(rows), -1)
        self.h_0 = self.h_T if clip is not None else np.zeros_like(self.h_T)
        self.c_0 = self.c_T if clip is not None else np.zeros_like(self.c_T)
        pre = (self.rows @ self.weight_i.T + self.bias).reshape(steps, n, -1)
        if clip is None:
            self.cont = np.repeat(np.arange(steps)[:, None] > 0, n, axis=1)
        else:
            self.cont = clip.reshape(steps, n) != 0
        self.gates, self.c, self.h = [], [], []
        h, c = self.h_0, self.c_0
        for t in range(steps):
            cont = self.cont[t][:, None]
            gate = pre[t] + cont * (h @ self.weight_h.T)
            i, f, o, g = np.split(gate, 4, axis=1)
            i, f, o, g = sigmoid(i), cont * sigmoid(f), sigmoid(o), np.tanh(g)
            c = f * c + i * g
            h = o * np.tanh(c)
            self.gates.append((i, f, o, g))
            self.c.append(c)
            self.h.append(h)
        self.h_T, self.c_T = h, c
        return np.concatenate(self.h)

    def backward(self, dout):
        n, steps = self.streams, len(self.h)
        dh = [*dout.reshape(steps, n, -1).astype("float64"), 0]
        dc = np.zeros_like(self.c_0)
        dpre = [None] * steps
        for t in reversed(range(steps)):
            i, f, o, g = self.gates[t]
            cont = self.cont[t][:, None]
            before = self.c[t - 1] if t > 0 else self.c_0
            tanh_c = np.tanh(self.c[t])
            d_o = dh[t] * tanh_c
            dc = dc + dh[t] * o * (1 - tanh_c**2)
            d_f = cont * dc * before
            gates = [
                dc * g * i * (1 - i),
                d_f * f * (1 - f),
                d_o * o * (1 - o),
                dc * i * (1 - g**2),
            ]
            dc = cont * dc * f
            dpre[t] = np.concatenate(gates, axis=1)
            if self.threshold > 0:
                dpre[t] = np.clip(dpre[t], -self.threshold, self.threshold)
            dh[t - 1] = dh[t - 1] + cont * (dpre[t] @ self.weight_h)
        flat = np.concatenate(dpre)
        dweight_h = dpre[0][:1].T @ self.h_0[:1]
        for t in range(1, steps):
            dweight_h = dweight_h + dpre[t].T @ self.h[t - 1]
        return flat @ self.weight_i, flat.T @ self.rows, dweight_h, flat.sum(0)


def blobs(values, units):
    return [normal(4 * units, values), normal(4 * units, units), normal(4 * units)]


def made(rows, has_clip, streams, threshold, weights):
    layer = FlatLSTM(weights[1].shape[1], streams, clipping_threshold=threshold)
    layer.build([rows, (rows[0], 1)] if has_clip else rows)
    weight_i, weight_h, bias = weights
    layer.set_weights([weight_i.T, bias, weight_h.T])
    return layer


@pytest.mark.parametrize("threshold", [0.0, 0.05])
@pytest.mark.parametrize("has_clip", [False, True])
@pytest.mark.parametrize(("steps", "streams"), [(5, 1), (4, 3), (1, 2)])
def test_batch_after_batch(steps, streams, has_clip, threshold, check, vjp):
    weights = blobs(6, 4)
    rule = Rule(*weights, streams, threshold)
    layer = made((steps * streams, 2, 3), has_clip, streams, threshold, weights)
    for batch in range(3):
        rows = normal(steps * streams, 2, 3)
        clip = None
        if has_clip:
            clip = RNG.integers(0, 2, (steps * streams, 1)).astype("float32")
            clip[:streams] = batch > 0
        dout = normal(steps * streams, 4)
        expected = rule.forward(rows, clip)
        drows, dweight_i, dweight_h, dbias = rule.backward(dout)
        inputs = [rows] if clip is None else [rows, clip]
        out, gradients = vjp(
            lambda *x: layer(list(x) if len(x) > 1 else x[0], training=True),
            inputs,
            dout,
            layer.trainable_variables,
        )
        check(out, expected)
        assert layer.compute_output_shape(
            rows.shape if clip is None else [rows.shape, clip.shape]
        ) == (steps * streams, 4)
        check(gradients[0], drows.reshape(rows.shape), 1e-4)
        for actual, wanted in zip(
            gradients[len(inputs) :],
            (dweight_i.T, dbias, dweight_h.T),
            strict=True,
        ):
            check(actual, wanted, 1e-4)
        # What a gradient costs may run the layer twice: the state goes on from ours.
        layer.reset_state()
        for variable, state in zip(
            layer._carried.variables[2:], (rule.h_T, rule.c_T), strict=True
        ):
            variable.assign(state)


NET = """
name: "Rows"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 6 dim: 2 dim: 2 dim: 2 } } }
layer { name: "clip" type: "Input" top: "clip" input_param { shape { dim: 6 dim: 1 } } }
layer { name: "lstm" type: "Lstm" bottom: "data" bottom: "clip" top: "lstm"
  lstm_param { num_output: 3 batch_size: 2 clipping_threshold: 0.1
    weight_filler { type: "xavier" } bias_filler { type: "constant" value: 1 } } }
"""


def test_ported(tmp_path, check):
    (tmp_path / "net.prototxt").write_text(NET, encoding="utf-8")
    weights = blobs(8, 3)
    net = caffe_pb2.NetParameter()
    layer = net.layer.add(name="lstm", type="Lstm")
    for blob in weights:
        layer.blobs.add(data=blob.ravel()).shape.dim.extend(blob.shape)
    (tmp_path / "net.caffemodel").write_bytes(net.SerializeToString())
    translation = translate(
        tmp_path / "net.prototxt", weights=tmp_path / "net.caffemodel"
    )
    translation.write(tmp_path / "keras")
    with imported(tmp_path / "keras", "model") as module:
        model = module.build_model()
    model.load_weights(tmp_path / "keras" / translation.weights_file, by_name=True)
    rows, clip = normal(6, 2, 2, 2), np.array([[0], [0], [1], [0], [1], [1]], "float32")
    out = model([rows.transpose(0, 2, 3, 1), clip])
    check(out, Rule(*weights, 2).forward(rows, clip))
