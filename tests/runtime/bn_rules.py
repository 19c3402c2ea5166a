"""NumPy readings of the forks' BN layers, over (N, C, H, W)."""

import numpy as np

AXES = (0, 2, 3)


def _spread(values):
    return values.reshape(1, -1, 1, 1)


def segnet(x, scale, shift, dout_of, epsilon=1e-9):
    """bn_layer.cpp of alexgkendall/caffe-segnet, bn_mode LEARN.

    Returns (top, mean, variance), (x's, scale's and shift's gradients).
    """
    x = x.astype("float64")
    mean = x.mean(AXES, keepdims=True)
    variance = (x**2).mean(AXES, keepdims=True) - mean**2
    deviation = np.sqrt(variance + epsilon)
    norm = (x - mean) / deviation
    top = norm * _spread(scale) + _spread(shift)
    return (top, mean, variance), _backward(norm, deviation, scale, dout_of(top))


def _backward(norm, deviation, scale, dout):
    values = norm.shape[0] * norm.shape[2] * norm.shape[3]
    dnorm = dout * _spread(scale)
    whole = norm * (dnorm * norm).sum(AXES, keepdims=True)
    whole = whole + dnorm.sum(AXES, keepdims=True)
    dx = (dnorm - whole / values) / deviation
    return dx, (norm * dout).sum(AXES), dout.sum(AXES)


def pspnet_train(x, slope, bias, moving, dout_of, momentum, epsilon):
    """bn_layer.cpp of hszhao/PSPNet, TRAIN and not frozen.

    Returns (top, moving mean and variance), (x's, slope's and bias's gradients).
    """
    x = x.astype("float64")
    mean = x.mean(AXES, keepdims=True)
    variance = ((x - mean) ** 2).mean(AXES, keepdims=True)
    kept = [
        momentum * old + (1 - momentum) * new.reshape(-1)
        for old, new in zip(moving, (mean, variance), strict=True)
    ]
    deviation = np.sqrt(variance + epsilon)
    norm = (x - mean) / deviation
    top = norm * _spread(slope) + _spread(bias)
    return (top, *kept), _backward(norm, deviation, slope, dout_of(top))


def pspnet_frozen(x, slope, bias, moving, dout_of, epsilon):
    """The same, frozen: (top,), (x's gradient,)."""
    mean, variance = (_spread(m) for m in moving)
    factor = _spread(slope) / np.sqrt(variance + epsilon)
    top = (x - mean) * factor + _spread(bias)
    return (top,), (dout_of(top) * factor,)
