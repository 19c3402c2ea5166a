"""The LSTM of junhyukoh/caffe-lstm: sequences as rows, and gradients that are clipped."""

import math

import keras
from keras import ops

from .recurrent import LSTM, lstm_unit


@keras.saving.register_keras_serializable(package="caffe_runtime")
class FlatLSTM(LSTM):
    """LSTM over rows (time * streams, ...): all streams of a step, then the next step.

    The inputs are the rows, or [rows, clip] with one value for each row: where it is 0 a
    sequence starts. Then the state is carried from batch to batch, see LSTM; without
    `clip` each batch is a sequence. The output is (time * streams, units).

    The gradient of the recurrent kernel is Caffe's: it counts steps over which a sequence
    does not go on, and of the first step the first stream alone.
    Caffe: junhyukoh/caffe-lstm, lstm_layer.cpp.

    Args:
        units: the size of the state and of the output.
        streams: how many sequences run side by side.
        clipping_threshold: the most that the gradient of a gate, in front of its
            activation, can be; 0 for any.
        Others are LSTM's.
    """

    def __init__(self, units, streams=1, clipping_threshold=0.0, **kwargs):
        super().__init__(units, streams=streams, **kwargs)
        self.clipping_threshold = clipping_threshold

    def build(self, input_shape):
        self.has_clip = isinstance(input_shape[0], (list, tuple))
        rows = input_shape[0] if self.has_clip else input_shape
        super().build([(None, self.streams, *rows[1:]), (None, self.streams)])

    def call(self, inputs, use=0, training=None):
        rows, *clip = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        values = math.prod(rows.shape[1:])
        x = ops.reshape(rows, (-1, self.streams, values))
        if clip:
            cont = ops.reshape(clip[0], (-1, self.streams)) != 0
        else:
            cont = ops.repeat(_later(x), self.streams, axis=1)
        output = super().call([x, ops.cast(cont, x.dtype)], use=use, training=training)
        return ops.reshape(output, (-1, self.units))

    def _driven(self, x, static):
        driven = super()._driven(x, static)
        first = ops.arange(self.streams) < int(self.has_clip)
        counts = ops.logical_or(_later(x), first)
        counts = ops.expand_dims(ops.cast(counts, driven.dtype), -1)
        return ops.concatenate([driven, counts], axis=-1)

    def step(self, states, driven, cont):
        hidden, cell = states
        driven, counts = driven[:, :-1], driven[:, -1:]
        fixed = ops.stop_gradient(self.recurrent_kernel)
        gates = driven + ops.matmul(cont * hidden, fixed)
        seen = ops.matmul(ops.stop_gradient(counts * hidden), self.recurrent_kernel)
        gates = gates + (seen - ops.stop_gradient(seen))
        if self.clipping_threshold > 0:
            gates = _with_clipped_gradient(gates, self.clipping_threshold)
        cell, hidden = lstm_unit(cell, gates, cont)
        return hidden, cell

    def compute_output_shape(self, input_shape):
        has_clip = isinstance(input_shape[0], (list, tuple))
        return ((input_shape[0] if has_clip else input_shape)[0], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "clipping_threshold": self.clipping_threshold,
        }


def _later(x):
    """Returns (time, 1) booleans: which steps are not the first."""
    return ops.expand_dims(ops.arange(ops.shape(x)[0]) > 0, -1)


def _with_clipped_gradient(x, threshold):
    @ops.custom_gradient
    def same(x):
        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return ops.clip(upstream, -threshold, threshold)

        return 1.0 * x, gradient

    return same(x)
