"""Means of a batch of images: all of float32's digits, as Caffe has them."""

import keras
import numpy as np
import pytest

from caffe2k.runtime import averages
from caffe2k.runtime.bn import BN
from caffe2k.runtime.image_norm import MVN
from caffe2k.runtime.normalization import BatchNorm

X = np.random.default_rng(0).normal(1, 4, (30, 32, 32, 12)).astype("float32")
EXACT = X.astype("float64")
FORMATS = {"channels_last": (0, 1, 2, 3), "channels_first": (0, 3, 1, 2)}


def error(actual, expected):
    """The largest, relative to the largest value."""
    actual = keras.ops.convert_to_numpy(actual).reshape(expected.shape)
    return np.abs(actual - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("order", FORMATS.values(), ids=FORMATS)
def test_batch_norm_takes_exact_statistics(order):
    layer = BatchNorm(axis=order.index(3))
    layer(X.transpose(order), training=True)
    mean, variance, _ = layer.get_weights()
    size = X.size / X.shape[-1]
    assert error(mean, EXACT.mean((0, 1, 2))) < 5e-7
    assert error(variance, EXACT.var((0, 1, 2)) * size / (size - 1)) < 5e-7


def test_bn_takes_exact_statistics():
    _, mean, variance = BN(return_statistics=True)(X)
    assert error(mean, EXACT.mean((0, 1, 2))) < 5e-7
    assert error(variance, EXACT.var((0, 1, 2))) < 5e-7


def test_mvn_takes_exact_means():
    image = X.reshape(1, 160, 192, 12)
    out = keras.ops.convert_to_numpy(MVN([1, 2], normalize_variance=False)(image))
    left = out.mean((0, 1, 2), dtype="float64")
    assert np.abs(left).max() < 5e-7 * np.abs(EXACT.mean((0, 1, 2))).max()


@pytest.mark.parametrize("axes", [[0], [1, 3], (0, 1, 2), [0, 1, 2, 3]])
def test_axes_stay_with_size_one(axes):
    means = averages.mean(keras.ops.convert_to_tensor(X), axes)
    expected = EXACT.mean(tuple(axes), keepdims=True)
    assert tuple(means.shape) == expected.shape
    assert error(means, expected) < 5e-7
