"""The solver's debug_info: the size of every blob and weight, layer by layer."""

import keras
import numpy as np
from keras import ops

from .callbacks import IterationCallback
from .forward import forward, weight_gradients
from .multipliers import Multiplier
from .training_log import TrainingLog


class DebugInfo(IterationCallback):
    """Prints mean absolute values every `every` iterations.

    [Forward] are the outputs of the layers and their weights before an update, of the
    first batch that it is made from; [Backward] the gradients of the weights that learn,
    without weight decay; [Update] the weights after it, and as `diff` how far they moved.
    `data` is the Stream that is trained on. The gradients of the layers' inputs, which
    Caffe prints too, are missing. (net.cpp, Net::ForwardDebugInfo, BackwardDebugInfo,
    UpdateDebugInfo)
    """

    def __init__(self, every, data, log=None):
        super().__init__()
        self.every = every
        self.data = data
        self.log = log or TrainingLog()
        self._weights = None

    def on_iteration_begin(self, iteration):
        self._weights = None
        if iteration % self.every:
            return
        self._sync()
        self._weights = _weights(self.model)
        for name, output in self._outputs():
            self._line("Forward", f"Layer {name}, top blob data: {_mean(output):.6g}")
        for (layer, weight), value in self._weights.items():
            text = f"Layer {layer}, param {weight} data: {_mean(value):.6g}"
            self._line("Forward", text)
        self._backward()

    def _backward(self):
        gradients = self._gradients()
        for (layer, weight), gradient in reversed(gradients.items()):
            text = f"Layer {layer}, param {weight} diff: {_mean(gradient):.6g}"
            self._line("Backward", text)
        norms = [
            f"L{order} norm = ({_norm(self._weights, order):.6g}, "
            f"{_norm(gradients, order):.6g})"
            for order in (1, 2)
        ]
        self._line("Backward", f"All net params (data, diff): {'; '.join(norms)}")

    def _gradients(self):
        """The gradients of the weights that learn, by layer and name."""
        variables = self.model.trainable_variables
        multipliers = self.model.optimizer.multipliers or [Multiplier()] * len(
            variables
        )
        found = weight_gradients(self.model, self.data.peek())
        learning = {
            id(variable): gradient
            for variable, gradient, multiplier in zip(
                variables, found, multipliers, strict=True
            )
            if multiplier.lr != 0
        }
        return {
            (layer.name, weight.name): learning[id(weight)]
            for layer in self.model.layers
            for weight in layer.weights
            if id(weight) in learning
        }

    def on_iteration_end(self, iteration, logs):
        if self._weights is None:
            return
        self._sync()
        for (layer, weight), value in _weights(self.model).items():
            diff = _mean(self._weights[layer, weight] - value)
            text = f"param {weight} data: {_mean(value):.6g}; diff: {diff:.6g}"
            self._line("Update", f"Layer {layer}, {text}")

    def _line(self, what, text):
        places = {
            "Forward": "net.cpp:613",
            "Backward": "net.cpp:641",
            "Update": "net.cpp:671",
        }
        self.log.line(f"    [{what}] {text}", places[what])

    def _outputs(self):
        """The layers' names and outputs, computed as the update will compute them."""
        net = getattr(self.model, "_functional", None) or self.model
        depths = sorted(net._nodes_by_depth, reverse=True)
        nodes = [node for depth in depths for node in net._nodes_by_depth[depth]]
        named = [(n.operation.name, t) for n in nodes for t in n.outputs]
        inputs = net.inputs[0] if len(net.inputs) == 1 else net.inputs
        inner = keras.Model(inputs, [tensor for _, tensor in named])
        outputs = forward(self.model, self.data.peek()[0], inner)
        return zip([name for name, _ in named], outputs, strict=True)


def _weights(model):
    """The weights by layer and name."""
    return {
        (layer.name, weight.name): ops.convert_to_numpy(weight).copy()
        for layer in model.layers
        for weight in layer.weights
    }


def _mean(value):
    return float(np.mean(np.abs(ops.convert_to_numpy(value))))


def _norm(arrays, order):
    """The L1 or L2 norm of all the arrays together."""
    total = sum(float(np.sum(np.abs(array) ** order)) for array in arrays.values())
    return total ** (1 / order)
