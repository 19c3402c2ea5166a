"""Caffe's MVN and the SSD fork's Normalize in NumPy."""

import numpy as np


def mvn(x, dy, axes, normalize, eps):
    """Forward_cpu and Backward_cpu of mvn_layer.cpp."""

    def mean(values):
        return values.mean(axes, keepdims=True)

    centered = x - mean(x)
    if not normalize:
        return centered, dy - mean(dy)
    deviation = np.sqrt(mean(centered**2)) + eps
    top = centered / deviation
    return top, (dy - mean(dy) - top * mean(top * dy)) / deviation


def normalize(x, dy, scale, across_spatial, eps):
    """normalize_layer.cpp of weiliu89/caffe, ssd: (top, bottom_diff, scale_diff)."""
    axes = (1, 2, 3) if across_spatial else (1,)
    spread = np.reshape(scale, (1, -1, 1, 1))
    norm = np.sqrt(eps + (x**2).sum(axes, keepdims=True))
    top = x / norm * spread
    dot = (x * dy).sum(axes, keepdims=True)
    bottom_diff = (dy - x * dot / norm**2) / norm * spread
    shares = top * dy / spread
    scale_diff = shares.sum() if np.ndim(scale) == 0 else shares.sum((0, 2, 3))
    return top, bottom_diff, scale_diff
