"""Writes the values of blobs of model.py: python verify_blobs.py REQUEST.json.

The request names the file of weights, the inputs (.npz), the blobs as [name, layer, use of
the layer, output], the file to write (.npz), and whether XLA compiles the model.
"""

import json
import sys

import keras
import numpy as np

from model import build_model


def tensor_of(model, layer, use, output):
    """The symbolic tensor that the `use`-th call of a layer gives."""
    outputs = model.get_layer(layer)._inbound_nodes[use].output_tensors
    return outputs[output]


def main(path):
    with open(path, encoding="utf-8") as file:
        request = json.load(file)
    model = build_model()
    if request["weights"]:
        model.load_weights(request["weights"], by_name=True)
    blobs = {str(i): tensor_of(model, *b[1:]) for i, b in enumerate(request["blobs"])}
    names = [tensor.name for tensor in model.inputs]
    with np.load(request["inputs"]) as arrays:
        inputs = {name: arrays[name] for name in names}
    inner = keras.Model(dict(zip(names, model.inputs)), blobs)
    inner.compile(jit_compile=request["jit_compile"])
    np.savez(request["output"], **inner.predict_on_batch(inputs))


if __name__ == "__main__":
    main(sys.argv[1])
