"""Caffe's blobs by name, out of a Keras model."""

import math
from typing import NamedTuple

import keras
import numpy as np


class Blob(NamedTuple):
    """Where a blob of Caffe's net is in the model.

    layer: the Keras layer whose `output`-th output it is, of the layer's `use`-th call.
    axes: which of the blob's axes, in Caffe's order, each axis of that output holds.
        A blob without axes, such as a loss, is repeated there for each of the batch.
    order: for a flattened blob whose values along `order_axis` do not lie in Caffe's
        order, the runs of them: (sizes in Caffe's order, the order they lie in).
    after: the Caffe layers that wrote it in place, in their order.
    """

    layer: str
    axes: tuple
    use: int = 0
    output: int = 0
    order: tuple = ()
    order_axis: int = 1
    after: tuple = ()

    def tensor(self, model):
        """The symbolic tensor in `model`."""
        node = model.get_layer(self.layer)._inbound_nodes[self.use]
        return node.output_tensors[self.output]

    def in_caffes_order(self, array):
        """The blob as Caffe lays it out, from the layer's output."""
        array = np.asarray(array)
        if not self.axes:
            return array.ravel()[0]
        array = array.transpose(np.argsort(self.axes))
        if not self.order:
            return array
        ends = np.cumsum([math.prod(sizes) for sizes, _ in self.order])
        parts = np.split(array, ends[:-1], axis=self.order_axis)
        arranged = [
            _arranged(part, self.order_axis, *run)
            for part, run in zip(parts, self.order, strict=True)
        ]
        return np.concatenate(arranged, axis=self.order_axis)


def _arranged(part, axis, sizes, order):
    """A run of values along an axis, from the order that they lie in to Caffe's."""
    before, behind = part.shape[:axis], part.shape[axis + 1 :]
    whole = part.reshape(*before, *(sizes[i] for i in order), *behind)
    moved = [axis + i for i in np.argsort(order)]
    rest = range(axis + len(sizes), whole.ndim)
    return whole.transpose(*range(axis), *moved, *rest).reshape(part.shape)


def blob_values(model, blob, x):
    """The values of a Blob for the input `x` of the model, in Caffe's axis order."""
    inner = inner_model(model, x, blob.tensor(model))
    return blob.in_caffes_order(inner.predict_on_batch(x))


def inner_model(model, x, outputs):
    """The part of a model that gives the tensors `outputs` for an input such as `x`."""
    if isinstance(x, dict):
        return keras.Model({tensor.name: tensor for tensor in model.inputs}, outputs)
    return keras.Model(model.inputs[0], outputs)
