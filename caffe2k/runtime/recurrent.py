"""Caffe's recurrent layers: time-major, reset by an input, carried over batches.

Keras's LSTM and SimpleRNN run over (batch, time, features), can't be reset inside a
sequence, and have one state for training and inference alike.
"""

import math

import keras
from keras import initializers, ops


class _CarriedState:
    """State variables of a layer that are none of its weights.

    Keras tracks the variables that it finds as attributes of a layer: it would save
    and load them, and refuse weights of a model with another number of streams.
    """

    def __init__(self, variables):
        self.variables = variables


class _Recurrent(keras.layers.Layer):
    """What LSTM and RNN share: inputs, weights, resets and the carried state.

    The inputs are [x, cont], then a static input if there is one, then one initial
    state for each of `state_names` if `expose_hidden`:
        x: (time, streams, ...); axes behind the second one are flattened.
        cont: (time, streams); the state before a step is multiplied by it, so 0 starts
            a new sequence. It gets no gradient.
        static: (streams, ...), seen at every step; flattened too.
        initial states: (1, streams, units) each; they get no gradient.
    The output is (time, streams, units); with `expose_hidden` a list of it and the
    final states, (1, streams, units) each, through which no gradient comes back.

    Without `expose_hidden` the final state is where the next batch starts, in training
    and in inference on its own. It starts at 0, is never saved, and `reset_state` puts
    it back to 0. Caffe: recurrent_layer.cpp.

    Args:
        units: the size of the state and of the output.
        expose_hidden: whether the states are inputs and outputs.
        streams: for how many streams the state is carried; others start at 0. None
            for as many as the input has, which must be known then.
        uses: how often a model applies the layer. Each use has a carried state of its
            own, which the argument `use` of the call picks.
        kernel_initializer: of all weights but the biases. Those of the state, of the
            static input, and of what else a layer has, may have one of their own.
        bias_initializer: of the biases.
    """

    state_names = ()
    gates = 1

    def __init__(
        self,
        units,
        expose_hidden=False,
        streams=None,
        uses=1,
        kernel_initializer="zeros",
        recurrent_initializer=None,
        static_initializer=None,
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.expose_hidden = expose_hidden
        self.streams = streams
        self.uses = uses
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.static_initializer = initializers.get(static_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self._carried = _CarriedState([])
        # XLA needs the number of steps to differentiate TensorFlow's loop.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def build(self, input_shape):
        x, _, *others = input_shape
        exposed = len(self.state_names) if self.expose_hidden else 0
        width = self.gates * self.units
        self.kernel = self._add_kernel("kernel", x[2:], width, None)
        self.bias = self._add_bias("bias", width)
        self.static_kernel = None
        if len(others) > exposed:
            self.static_kernel = self._add_kernel(
                "static_kernel", others[0][1:], width, self.static_initializer
            )
        self.recurrent_kernel = self._add_kernel(
            "recurrent_kernel", (self.units,), width, self.recurrent_initializer
        )
        if not self.expose_hidden:
            self._add_carried_state(x[1])

    def _add_kernel(self, name, inputs, outputs, initializer):
        if initializer is None:
            # One initializer object draws the same values again.
            initializer = self.kernel_initializer.clone()
        shape = (math.prod(inputs), outputs)
        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def _add_bias(self, name, size):
        initializer = self.bias_initializer.clone()
        return self.add_weight(name=name, shape=(size,), initializer=initializer)

    def _add_carried_state(self, streams):
        if self.streams is not None:
            streams = self.streams
        if streams is None:
            raise ValueError(
                f"{self.name}: the input's number of streams is not known, so the "
                "argument `streams` must say for how many the state is carried"
            )
        self._carried.variables = [
            keras.Variable(
                "zeros",
                shape=(streams, self.units),
                dtype=self.variable_dtype,
                trainable=False,
                name=f"{phase}_{name}_{use}",
            )
            for phase in ("inference", "training")
            for use in range(self.uses)
            for name in self.state_names
        ]

    @property
    def variables(self):
        """The weights and the carried state, which is not in `weights`."""
        return [*super().variables, *self._carried.variables]

    def reset_state(self):
        """Puts the carried state of every use, in training and inference, to 0."""
        for variable in self._carried.variables:
            variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))

    def call(self, inputs, use=0, training=None):
        x, cont, *others = inputs
        states = others[len(others) - len(self.state_names) :]
        static = None if self.static_kernel is None else others[0]
        driven = self._driven(x, static)
        if self.expose_hidden:
            start = tuple(ops.stop_gradient(state[0]) for state in states)
            output, final = self._run(driven, cont, start)
            exposed = (ops.expand_dims(ops.stop_gradient(s), 0) for s in final)
            return [output, *exposed]
        number = len(self.state_names)
        first = (bool(training) * self.uses + use) * number
        carried = self._carried.variables[first : first + number]
        streams = ops.shape(x)[1]
        start = tuple(self._recall(variable, streams) for variable in carried)
        output, final = self._run(driven, cont, start)
        for variable, state in zip(carried, final, strict=True):
            self._keep(variable, state, streams)
        return output

    def _driven(self, x, static):
        """Returns what the inputs add at each step, (time, streams, gates * units)."""
        time, streams = ops.shape(x)[:2]
        flat = ops.reshape(x, (-1, self.kernel.shape[0]))
        driven = ops.matmul(flat, self.kernel) + self.bias
        driven = ops.reshape(driven, (time, streams, driven.shape[-1]))
        if static is None:
            return driven
        flat = ops.reshape(static, (-1, self.static_kernel.shape[0]))
        return driven + ops.matmul(flat, self.static_kernel)

    def _run(self, driven, cont, start):
        """Returns the output of all steps and the final states, (streams, units)."""
        cont = ops.expand_dims(ops.stop_gradient(ops.cast(cont, driven.dtype)), -1)
        # TensorFlow's scan fails on two inputs whose length is not known.
        steps = ops.concatenate([driven, cont], axis=-1)

        def step(states, inputs):
            states = self.step(states, inputs[:, :-1], inputs[:, -1:])
            return states, states

        final, states = ops.scan(step, start, steps)
        return self.output_of(states[0]), final

    def step(self, states, driven, cont):
        """Returns the states after a step, each (streams, units); the first is h."""
        raise NotImplementedError

    def output_of(self, hidden):
        """Returns the output for the hidden state of every step."""
        return hidden

    def _recall(self, variable, streams):
        # A copy, as PyTorch changes the variable in place before the backward pass.
        state = ops.cast(ops.copy(variable), self.compute_dtype)
        if variable.shape[0] == streams:
            return state
        more = ops.zeros((streams, self.units), dtype=state.dtype)
        return ops.concatenate([state, more])[:streams]

    def _keep(self, variable, state, streams):
        state = ops.cast(state, variable.dtype)
        if variable.shape[0] != streams:
            unused = ops.convert_to_tensor(variable)[streams:]
            state = ops.concatenate([state, unused])[: variable.shape[0]]
        variable.assign(state)

    def compute_output_shape(self, input_shape):
        time, streams = input_shape[0][:2]
        output = (time, streams, self.units)
        if not self.expose_hidden:
            return output
        return [output] + [(1, streams, self.units)] * len(self.state_names)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "expose_hidden": self.expose_hidden,
            "streams": self.streams,
            "uses": self.uses,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "static_initializer": initializers.serialize(self.static_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class LSTM(_Recurrent):
    """Long short-term memory; its states are h and c. See _Recurrent for the rest.

    The columns of the weights are the input, forget and output gates, then the
    candidate. Caffe: lstm_layer.cpp.
    """

    state_names = ("h", "c")
    gates = 4

    def step(self, states, driven, cont):
        hidden, cell = states
        driven = driven + ops.matmul(cont * hidden, self.recurrent_kernel)
        cell, hidden = lstm_unit(cell, driven, cont)
        return hidden, cell


@keras.saving.register_keras_serializable(package="caffe_runtime")
class RNN(_Recurrent):
    """h = tanh(W_h h + W_x x + b), output tanh(W_o h + b_o). See _Recurrent.

    `output_initializer` is that of W_o; without it, kernel_initializer.
    Differs from keras.layers.SimpleRNN in the second layer. Caffe: rnn_layer.cpp.
    """

    state_names = ("h",)

    def __init__(self, units, output_initializer=None, **kwargs):
        super().__init__(units, **kwargs)
        self.output_initializer = initializers.get(output_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        self.output_kernel = self._add_kernel(
            "output_kernel", (self.units,), self.units, self.output_initializer
        )
        self.output_bias = self._add_bias("output_bias", self.units)

    def step(self, states, driven, cont):
        (hidden,) = states
        return (ops.tanh(driven + ops.matmul(cont * hidden, self.recurrent_kernel)),)

    def output_of(self, hidden):
        return ops.tanh(ops.matmul(hidden, self.output_kernel) + self.output_bias)

    def get_config(self):
        initializer = initializers.serialize(self.output_initializer)
        return {**super().get_config(), "output_initializer": initializer}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class LSTMUnit(keras.layers.Layer):
    """One step of an LSTM without its weights: [c, gates, cont] to c and h.

    c is (1, streams, units), gates (1, streams, 4 * units), cont (1, streams), which
    gets no gradient; so are the outputs. Caffe: lstm_unit_layer.cpp.
    """

    def call(self, inputs):
        cell, gates, cont = inputs
        cont = ops.expand_dims(ops.stop_gradient(cont), -1)
        return list(lstm_unit(cell, gates, cont))

    def compute_output_shape(self, input_shape):
        return [input_shape[0], input_shape[0]]


def lstm_unit(cell, gates, cont):
    """Returns the new c and h; units along the last axis."""
    units = cell.shape[-1]
    remember, forget, show = ops.split(ops.sigmoid(gates[..., :-units]), 3, axis=-1)
    # Caffe's gradient of the forget gate is f * (1 - f) of the product with cont.
    kept = cont * forget
    x = gates[..., units : 2 * units]
    kept = kept + (x - ops.stop_gradient(x)) * ops.stop_gradient(kept * (forget - kept))
    cell = kept * cell + remember * ops.tanh(gates[..., -units:])
    return cell, show * ops.tanh(cell)
