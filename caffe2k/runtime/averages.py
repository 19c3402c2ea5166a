"""Means of many values, as exact as Caffe's."""

from keras import ops


def mean(x, axes):
    """The mean over positive `axes`, in rising order; they stay, with size 1.

    Taken over one axis after the other. TensorFlow's CPU kernels add one value after the
    other instead, which for a batch of images is wrong in the sixth digit; a ReLU behind
    BatchNorm then has other signs than in Caffe, whose dot products add in parts.
    """
    for axis in reversed(axes):
        x = ops.mean(x, axis=axis, keepdims=True)
    return x
