"""The solver's debug_info: the size of every blob and weight, layer by layer."""

import numpy as np
from keras import ops

from .blobs import inner_model
from .callbacks import IterationCallback
from .forward import forward, gradients
from .gradients import StopGradient
from .layer_calls import (
    layer_calls,
    named_inputs,
    outputs_by_key,
    perturbed,
)
from .multipliers import Multiplier
from .training_log import TrainingLog


class DebugInfo(IterationCallback):
    """Prints mean absolute values every `every` iterations, in Caffe's words.

    [Forward] are the outputs of the layers and their weights before an update, of the
    first batch that it is made from. [Backward] are the gradients of what each layer
    reads and of the weights that learn, without weight decay. [Update] are the weights
    after it, and as `diff` how far they moved. `data` is the Stream that is trained on.

    The layers are Keras's: what Caffe computes in place has a blob of its own here, or
    is the activation of another layer. A blob is named as the model's output, else as
    the layer that makes it; a weight is a number, also where Caffe has a name. (net.cpp,
    Net::ForwardDebugInfo, BackwardDebugInfo, UpdateDebugInfo)
    """

    def __init__(self, every, data, log=None):
        super().__init__()
        self.every = every
        self.data = data
        self.log = log or TrainingLog()
        self._weights = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._calls = layer_calls(self.model)
        self._tops = [tensor for call in self._calls for tensor in call.outputs]
        x = named_inputs(self.model, self.data.peek()[0])
        self._inner = inner_model(self.model, x, self._tops)
        self._blobs = _blob_names(self.model, self._calls)
        self._perturbed, self._readings = perturbed(self.model)

    def on_iteration_begin(self, iteration):
        self._weights = None
        if iteration % self.every:
            return
        self._sync()
        self._weights = _weights(self.model)
        x, *targets = self.data.peek()
        x = named_inputs(self.model, x)
        values = self._forward(x)
        self._backward((x, *targets), values)

    def on_iteration_end(self, iteration, logs):
        if self._weights is None:
            return
        self._sync()
        for (layer, index), value in _weights(self.model).items():
            diff = self._weights[layer, index] - value
            text = f"param {index} data: {_mean(value)}; diff: {_mean(diff)}"
            self._line("Update", f"Layer {layer}, {text}", 649)

    def _forward(self, x):
        """Prints the forward pass; returns the values of the model's tensors by id."""
        outputs = forward(self.model, x, self._inner)
        values = dict(zip(map(id, self._tops), outputs, strict=True))
        owners = _owners(self._calls)
        for call in self._calls:
            for top in call.outputs:
                text = f"top blob {self._blobs[id(top)]} data: {_mean(values[id(top)])}"
                self._line("Forward", f"Layer {call.operation.name}, {text}", 593)
            if call in owners:
                self._params("Forward", "data", call, self._weights, 605)
        return values

    def _backward(self, batch, values):
        """Prints the backward pass; `values` are those of the forward pass."""
        learning = self._learning()
        needed = self._needed({layer for layer, _ in learning.values()})
        zeros = {
            reading.perturbation: np.zeros_like(values[id(reading.tensor)])
            for reading in self._readings
        }
        of_variables, diffs = gradients(self.model, batch, self._perturbed, zeros)
        param_diffs = {
            learning[id(variable)]: gradient
            for variable, gradient in zip(
                self.model.trainable_variables, of_variables, strict=True
            )
            if id(variable) in learning
        }
        for key, name in reversed(_losses(self.model).items()):
            self._bottoms(name, needed[key], diffs)
        calls = [call for call in self._calls if call in needed]
        owners = _owners(calls)
        for call in reversed(calls):
            self._bottoms(call.operation.name, needed[call], diffs)
            if call in owners:
                self._params("Backward", "diff", call, param_diffs, 632)
        norms = [
            f"L{order} norm = ({_norm(self._weights, order)}, "
            f"{_norm(param_diffs, order)})"
            for order in (1, 2)
        ]
        text = f"All net params (data, diff): {'; '.join(norms)}"
        self._line("Backward", text, 721)

    def _learning(self):
        """The layers and numbers of the weights that learn, by the variables' ids."""
        variables = self.model.trainable_variables
        multipliers = self.model.optimizer.multipliers or [Multiplier()] * len(
            variables
        )
        learning = {
            id(variable)
            for variable, multiplier in zip(variables, multipliers, strict=True)
            if multiplier.lr != 0
        }
        return {
            id(weight): place
            for place, weight in _places(self.model).items()
            if id(weight) in learning
        }

    def _needed(self, learning):
        """What Caffe has a gradient for: the Readings of each reader with a backward pass.

        What is read depends on one of the layers `learning`, the loss on the reader. A
        forward pass has just been made. (net.cpp, Net::Init)
        """
        learned, stopped = set(), set()
        for call in self._calls:
            if call.operation.name in learning or learned & _ids(call.input_tensors):
                learned |= _ids(call.outputs)
            if isinstance(call.operation, StopGradient):
                stopped |= _ids(call.outputs)
        readers = set(_losses(self.model))
        under_loss = {id(r.tensor) for r in self._readings if r.reader in readers}
        for call in reversed(self._calls):
            outputs = _ids(call.outputs)
            adds_loss = getattr(call.operation, "losses", ())
            if not outputs & stopped and (adds_loss or outputs & under_loss):
                under_loss |= _ids(call.input_tensors)
                readers.add(call)
        needed = {reader: [] for reader in readers}
        for reading in self._readings:
            if reading.reader in readers and id(reading.tensor) in learned - stopped:
                needed[reading.reader].append(reading)
        return needed

    def _bottoms(self, layer, readings, diffs):
        """Prints the gradients of what a layer or loss reads."""
        for reading in readings:
            blob, diff = self._blobs[id(reading.tensor)], diffs[reading.perturbation]
            text = f"bottom blob {blob} diff: {_mean(diff)}"
            self._line("Backward", f"Layer {layer}, {text}", 621)

    def _params(self, what, kind, call, arrays, line):
        """Prints those of the `arrays` that are of the weights of a call's layer."""
        layer = call.operation.name
        for (name, index), array in arrays.items():
            if name == layer:
                text = f"param blob {index} {kind}: {_mean(array)}"
                self._line(what, f"Layer {layer}, {text}", line)

    def _line(self, what, text, line):
        self.log.line(f"    [{what}] {text}", f"net.cpp:{line}")


def _blob_names(model, calls):
    """The names of the model's tensors by id."""
    names = {}
    for call in calls:
        layer, several = call.operation.name, len(call.outputs) > 1
        for index, tensor in enumerate(call.outputs):
            names[id(tensor)] = f"{layer}_{index}" if several else layer
    names.update({id(t): key for key, t in outputs_by_key(model).items() if key})
    return names


def _owners(calls):
    """Of the calls the first one of each layer, where its weights are printed."""
    return set({call.operation: call for call in reversed(calls)}.values())


def _losses(model):
    """The names of the losses of compile(), by the key of the output that they read."""
    if isinstance(model.loss, dict):
        return {key: f"{key}_loss" for key in model.loss}
    return {None: "loss"} if model.loss else {}


def _places(model):
    """The weights by layer and by their number in it."""
    return {
        (layer.name, index): weight
        for layer in model.layers
        for index, weight in enumerate(layer.weights)
    }


def _weights(model):
    """The values of the weights by layer and number."""
    return {
        place: ops.convert_to_numpy(weight).copy()
        for place, weight in _places(model).items()
    }


def _ids(tensors):
    return {id(tensor) for tensor in tensors}


def _mean(value):
    """The mean absolute value, as glog prints a float."""
    return f"{np.mean(np.abs(value), dtype='float64'):.6g}"


def _norm(arrays, order):
    """The L1 or L2 norm of all the arrays together, as glog prints it."""
    total = sum(float(np.sum(np.abs(array) ** order)) for array in arrays.values())
    return f"{total ** (1 / order):.6g}"
