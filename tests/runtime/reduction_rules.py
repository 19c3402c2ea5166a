"""Caffe's Reduction and ArgMax in NumPy."""

import numpy as np


def reduce(x, dy, axes, operation, coeff):
    """reduction_layer.cpp, over any axes: (top, bottom_diff), one number as a list."""
    if operation == "MEAN":
        coeff = coeff / np.prod([x.shape[axis] for axis in axes])
    values, slope = {
        "SUM": (x, np.ones_like(x)),
        "MEAN": (x, np.ones_like(x)),
        "ASUM": (np.abs(x), np.sign(x)),
        "SUMSQ": (x * x, 2 * x),
    }[operation]
    spread = dy if len(axes) == x.ndim else np.expand_dims(dy, axes)
    return np.atleast_1d(coeff * values.sum(axes)), coeff * slope * spread


def argmax(x, axis, top_k, out_max_val):
    """argmax_layer.cpp: pairs (value, position), in falling order of both."""
    moved = np.moveaxis(x, axis, -1)
    found = np.zeros((*moved.shape[:-1], top_k))
    for place in np.ndindex(moved.shape[:-1]):
        pairs = sorted(((v, i) for i, v in enumerate(moved[place])), reverse=True)
        found[place] = [pair[not out_max_val] for pair in pairs[:top_k]]
    return np.moveaxis(found, -1, axis)
