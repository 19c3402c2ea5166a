"""Caffe's Im2col and SPP in NumPy."""

import itertools
import math

import numpy as np


def im2col(x, kernel, stride, pad, dilation):
    """im2col_nd_core_cpu (im2col.cpp): a column for each window, and where it comes from.

    x has the shape (channels, ...); the second result gives, for each value of the
    first, its flat position in x, or -1 in the padding.
    """
    spatial = x.shape[1:]
    counts = [
        int((size + 2 * p - d * (k - 1) - 1) / s) + 1
        for size, k, s, p, d in zip(spatial, kernel, stride, pad, dilation, strict=True)
    ]
    top = np.zeros((x.shape[0] * math.prod(kernel), *counts), x.dtype)
    origin = np.full(top.shape, -1)
    rows = itertools.product(range(x.shape[0]), *map(range, kernel))
    for row, (channel, *inside) in enumerate(rows):
        for place in np.ndindex(*counts):
            at = tuple(
                n * s - p + i * d
                for n, s, p, i, d in zip(
                    place, stride, pad, inside, dilation, strict=True
                )
            )
            if all(0 <= a < size for a, size in zip(at, spatial, strict=True)):
                top[(row, *place)] = x[(channel, *at)]
                index = np.ravel_multi_index((channel, *at), x.shape)
                origin[(row, *place)] = index
    return top, origin


def spp(x, levels, pool):
    """spp_layer.cpp with the windows of pooling_layer.cpp, over x of (C, H, W)."""
    parts = []
    for level in range(levels):
        bins = 2**level
        kernel = [math.ceil(size / bins) for size in x.shape[1:]]
        pad = [
            (k * bins - size + 1) // 2
            for k, size in zip(kernel, x.shape[1:], strict=True)
        ]
        counts = []
        for size, k, p in zip(x.shape[1:], kernel, pad, strict=True):
            count = math.ceil((size + 2 * p - k) / k) + 1
            counts.append(count - (any(pad) and (count - 1) * k >= size + p))
        for channel, i, j in np.ndindex(x.shape[0], *counts):
            starts = [i * kernel[0] - pad[0], j * kernel[1] - pad[1]]
            ends = [
                min(s + k, size + p)
                for s, k, size, p in zip(starts, kernel, x.shape[1:], pad, strict=True)
            ]
            window = x[
                channel, max(starts[0], 0) : ends[0], max(starts[1], 0) : ends[1]
            ]
            area = (ends[0] - starts[0]) * (ends[1] - starts[1])
            parts.append(window.max() if pool == "MAX" else window.sum() / area)
    return np.array(parts)
