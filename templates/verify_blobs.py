"""Writes the values of all blobs of model.py: python verify_blobs.py REQUEST.json.

The request names the file of weights, the inputs (.npz), the file to write (.npz, with the
blobs by their place in BLOBS), and whether XLA compiles the model.
"""

import json
import sys

import numpy as np

from blobs import BLOBS
from caffe_runtime.blobs import inner_model
from model import build_model


def main(path):
    with open(path, encoding="utf-8") as file:
        request = json.load(file)
    model = build_model()
    if request["weights"]:
        model.load_weights(request["weights"], by_name=True)
    with np.load(request["inputs"]) as arrays:
        inputs = {tensor.name: arrays[tensor.name] for tensor in model.inputs}
    blobs = {str(i): blob for i, blob in enumerate(BLOBS.values())}
    tensors = {i: blob.tensor(model) for i, blob in blobs.items()}
    inner = inner_model(model, inputs, tensors)
    inner.compile(jit_compile=request["jit_compile"])
    values = inner.predict_on_batch(inputs)
    np.savez(
        request["output"],
        **{i: blob.in_caffes_order(values[i]) for i, blob in blobs.items()},
    )


if __name__ == "__main__":
    main(sys.argv[1])
