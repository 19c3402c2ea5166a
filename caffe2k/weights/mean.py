"""Mean images: from the .binaryproto that Caffe keeps to a .npy beside data.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffe2k.weights.blob import FloatArray
from caffe2k.weights.caffemodel import read_binaryproto
from caffe2k.weights.errors import WeightsError


def load_mean(path: Path) -> FloatArray:
    """The mean image (C, H, W) of a .binaryproto, which holds one blob (1, C, H, W).

    Raises WeightsError if the file holds anything else (data_transformer.cpp).
    """
    mean = read_binaryproto(path)
    while mean.ndim > 3 and mean.shape[0] == 1:
        mean = mean[0]
    if mean.ndim != 3:
        raise WeightsError(
            "mean-shape",
            f"`{path.name}` holds a blob of shape {mean.shape}, no image",
            help="a mean file is what Caffe's compute_image_mean writes: (1, C, H, W)",
        )
    return mean


def write_array(array: FloatArray, path: Path) -> None:
    """Writes an array as .npy: a mean image in Caffe's axis order (C, H, W), a matrix."""
    np.save(path, array)
