"""The calls of a model's layers, and a model in which what they read can be perturbed."""

from typing import Any, NamedTuple

import keras


class Reading(NamedTuple):
    """A floating tensor of a model, and who reads it.

    reader: a layer's call, as Keras's Node; for a loss of compile() the key of the
        model's output.
    perturbation: the name of the input that is added to the tensor for this reader.
    """

    tensor: Any
    reader: Any
    perturbation: str


def layer_calls(model):
    """The calls of the model's layers as Keras's Nodes, each after those it reads from.

    Inputs come first. Behind them the graph is walked depth first from the outputs,
    which is the order of most prototxts.
    """
    graph = _graph(model)
    found = {}
    for tensor in [*graph.inputs, *graph.outputs]:
        history = tensor._keras_history
        waiting = [history.operation._inbound_nodes[history.node_index]]
        while waiting:
            missing = [c for c in waiting[-1].parent_nodes if c not in found]
            if missing:
                waiting.append(missing[0])
            else:
                found[waiting.pop()] = None
    return list(found)


def named_inputs(model, x):
    """The batch `x` of the model's inputs, as a dict by their names."""
    names = [tensor.name for tensor in _graph(model).inputs]
    if isinstance(x, dict):
        return {name: x[name] for name in names}
    return dict(zip(names, keras.tree.flatten(x), strict=True))


def outputs_by_key(model):
    """The model's outputs by key; an only one, which has no key, by None."""
    outputs = _graph(model).output
    return outputs if isinstance(outputs, dict) else {None: outputs}


def perturbed(model):
    """A model that gives what `model` gives, and its Readings.

    It takes the inputs by name, and for each Reading a perturbation that this reader
    alone sees, as if each reader had a copy of the tensor.
    """
    graph = _graph(model)
    values = {id(tensor): tensor for tensor in graph.inputs}
    inputs = {tensor.name: tensor for tensor in graph.inputs}
    readings = []

    def read(tensor, reader):
        value = values[id(tensor)]
        if not keras.backend.is_float_dtype(tensor.dtype):
            return value
        name = f"perturbation.{len(readings)}"
        kind = {"dtype": tensor.dtype, "name": name}
        inputs[name] = keras.Input(batch_shape=tensor.shape, **kind)
        readings.append(Reading(tensor, reader, name))
        kind = {"dtype": tensor.dtype, "name": f"{name}.sum"}
        return keras.layers.Add(**kind)([value, inputs[name]])

    for call in layer_calls(model):
        if not call.is_input:
            outputs = keras.tree.flatten(_called(call, read))
            values.update(zip(map(id, call.outputs), outputs, strict=True))
    outputs = {key: read(tensor, key) for key, tensor in outputs_by_key(model).items()}
    return keras.Model(inputs, outputs.get(None, outputs)), readings


def _called(call, read):
    """Calls the layer of a Node anew, with `read(tensor, call)` for each tensor."""

    def argument(value):
        return read(value, call) if keras.backend.is_keras_tensor(value) else value

    args, kwargs = keras.tree.map_structure(
        argument, (call.arguments.args, call.arguments.kwargs)
    )
    return call.operation(*args, **kwargs)


def _graph(model):
    """The functional model, which a Sequential has inside."""
    return getattr(model, "_functional", None) or model
