"""Caffe's recurrent layers and their gradients in NumPy, read off the C++ sources.

Weights are Caffe's blobs, (outputs, inputs). Sources: lstm_unit_layer.cpp, and
FillUnrolledNet of lstm_layer.cpp and rnn_layer.cpp.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unit_forward(cell, gates, cont):
    """LSTMUnitLayer::Forward_cpu: (N, D), (N, 4 D), (N, 1) to c, h."""
    i, f, o, g = activations(gates, cont)
    c = f * cell + i * g
    return c, o * np.tanh(c)


def activations(gates, cont):
    i, f, o, g = np.split(gates, 4, axis=1)
    return sigmoid(i), cont * sigmoid(f), sigmoid(o), np.tanh(g)


def unit_backward(cell, gates, cont, dc, dh):
    """LSTMUnitLayer::Backward_cpu: the gradients of the cell and of the gates."""
    i, f, o, g = activations(gates, cont)
    c, _ = unit_forward(cell, gates, cont)
    term = dc + dh * o * (1 - np.tanh(c) ** 2)
    dgates = [
        term * g * i * (1 - i),
        term * cell * f * (1 - f),
        dh * np.tanh(c) * o * (1 - o),
        term * i * (1 - g**2),
    ]
    return term * f, np.concatenate(dgates, axis=1)


class LSTMRule:
    """W_xc, b_c, W_xc_static if there is a static input, W_hc."""

    def __init__(self, *blobs):
        self.wx, self.b, *static, self.wh = (np.asarray(b, "float64") for b in blobs)
        self.ws = static[0] if static else None

    def forward(self, x, cont, static=None, state=None):
        """All h, then the last h and c, (N, D)."""
        self.x = x.reshape(*x.shape[:2], -1).astype("float64")
        self.shapes = x.shape, None if static is None else static.shape
        self.cont = cont[..., None]
        self.steps = []
        zeros = np.zeros((x.shape[1], self.wh.shape[1]))
        h, c = (zeros, zeros) if state is None else state
        drive = self.x @ self.wx.T + self.b
        if static is not None:
            self.static = static.reshape(len(static), -1)
            drive = drive + self.static @ self.ws.T
        hidden = []
        for driven, k in zip(drive, self.cont, strict=True):
            gates = (k * h) @ self.wh.T + driven
            self.steps.append((h, c, gates, k))
            c, h = unit_forward(c, gates, k)
            hidden.append(h)
        return np.stack(hidden), h, c

    def backward(self, dout):
        """The gradients of x and of a static input, and those of the blobs."""
        dwh = np.zeros_like(self.wh)
        dh = dc = np.zeros_like(dout[0])
        ddrive = []
        for (h, c, gates, k), d in zip(self.steps[::-1], dout[::-1], strict=True):
            dc, dgates = unit_backward(c, gates, k, dc, dh + d)
            dwh += dgates.T @ (k * h)
            dh = k * (dgates @ self.wh)
            ddrive.append(dgates)
        return self.of_inputs(np.stack(ddrive[::-1]), dwh)

    def of_inputs(self, ddrive, dwh):
        dx = (ddrive @ self.wx).reshape(self.shapes[0])
        dwx = np.einsum("tng,tni->gi", ddrive, self.x)
        db = ddrive.sum((0, 1))
        if self.ws is None:
            return [dx], [dwx, db, dwh]
        summed = ddrive.sum(0)
        dstatic = (summed @ self.ws).reshape(self.shapes[1])
        return [dx, dstatic], [dwx, db, summed.T @ self.static, dwh]


class RNNRule(LSTMRule):
    """W_xh, b_h, W_xh_static if there is a static input, W_hh, W_ho, b_o."""

    def __init__(self, *blobs):
        super().__init__(*blobs[:-2])
        self.wo, self.bo = (np.asarray(b, "float64") for b in blobs[-2:])

    def forward(self, x, cont, static=None, state=None):
        self.x = x.reshape(*x.shape[:2], -1).astype("float64")
        self.shapes = x.shape, None if static is None else static.shape
        self.cont = cont[..., None]
        h = np.zeros((x.shape[1], len(self.wh))) if state is None else state[0]
        drive = self.x @ self.wx.T + self.b
        if static is not None:
            self.static = static.reshape(len(static), -1)
            drive = drive + self.static @ self.ws.T
        self.before, self.hidden = [], []
        for driven, k in zip(drive, self.cont, strict=True):
            self.before.append(h)
            h = np.tanh((k * h) @ self.wh.T + driven)
            self.hidden.append(h)
        self.out = np.tanh(np.stack(self.hidden) @ self.wo.T + self.bo)
        return self.out, h

    def backward(self, dout):
        dtop = dout * (1 - self.out**2)
        dwh, dh, ddrive = np.zeros_like(self.wh), np.zeros_like(dout[0]), []
        for t in reversed(range(len(dout))):
            k = self.cont[t]
            d = (dtop[t] @ self.wo + dh) * (1 - self.hidden[t] ** 2)
            dwh += d.T @ (k * self.before[t])
            dh = k * (d @ self.wh)
            ddrive.append(d)
        inputs, blobs = self.of_inputs(np.stack(ddrive[::-1]), dwh)
        dwo = np.einsum("tno,tnh->oh", dtop, np.stack(self.hidden))
        return inputs, [*blobs, dwo, dtop.sum((0, 1))]
