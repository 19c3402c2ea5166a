"""ShuffleChannel and Reorg in NumPy, as their forks have them."""

import numpy as np


def shuffle(x, group):
    """Resize_cpu and Forward_cpu of farmingyard/ShuffleNet, shuffle_channel_layer.cpp."""
    columns = x.shape[1] // group
    top = np.empty_like(x)
    for i in range(group):
        for j in range(columns):
            top[:, j * group + i] = x[:, i * columns + j]
    return top


def reorg(x, stride, reverse):
    """reorg_cpu (reorg_layer.hpp) of intel/caffe, with `reverse` as its `forward`."""
    number, channels, height, width = x.shape
    few = channels // stride**2
    read, written = x.ravel(), np.zeros(x.size, x.dtype)
    for n, k, j, i in np.ndindex(x.shape):
        here = i + width * (j + height * (k + channels * n))
        offset, c = divmod(k, few)
        w = i * stride + offset % stride
        h = j * stride + offset // stride
        there = w + width * stride * (h + height * stride * (c + few * n))
        if reverse:
            written[there] = read[here]
        else:
            written[here] = read[there]
    if reverse:
        return written.reshape(number, few, height * stride, width * stride)
    size = (channels * stride**2, height // stride, width // stride)
    return written.reshape(number, *size)
