"""SpatialTransformer: against a NumPy reading of st_layer.cu."""

import keras
import numpy as np
import pytest
from resampling_rules import spatial_transformer

from caffe2k.runtime.spatial_transformer import SpatialTransformer

RNG = np.random.default_rng(10)
FORMATS = {"channels_last": (0, 2, 3, 1), "channels_first": (0, 1, 2, 3)}
FREE = (None,) * 6


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


SETTINGS = [
    (None, FREE),
    ((4, 7), FREE),
    ((6, 3), (None, 0.0, None, 0.0, None, None)),
    ((2, 5), (0.7, None, 0.1, 0.2, 1.5, None)),
]


@pytest.mark.parametrize("learns_planes", [True, False])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(("size", "fixed"), SETTINGS)
def test_rule(size, fixed, data_format, learns_planes, check, vjp):
    order = FORMATS[data_format]
    back = np.argsort(order)
    x = normal(3, 2, 5, 6)
    identity = np.array([1, 0, 0, 0, 1, 0], "float32")
    free = [i for i, entry in enumerate(fixed) if entry is None]
    theta = (identity + 0.4 * normal(3, 6))[:, free].astype("float32")
    made = {}
    top, (dx, dtheta) = spatial_transformer(
        x,
        theta,
        size or x.shape[2:],
        fixed,
        lambda top: made.setdefault("dout", normal(*top.shape)),
    )
    layer = SpatialTransformer(size, fixed, learns_planes, data_format)
    inputs, dout = [x.transpose(order), theta], made["dout"].transpose(order)
    out, gradients = vjp(lambda *inputs: layer(list(inputs)), inputs, dout)
    check(out.transpose(back), top)
    check(gradients[0].transpose(back), dx * learns_planes, 1e-4)
    check(gradients[1], dtheta, 1e-4)
    assert layer.compute_output_shape([i.shape for i in inputs]) == out.shape


def test_whole_places(check, vjp):
    """On a pixel, the slope is that towards the next one, as in the fork."""
    x, theta = normal(1, 1, 4, 4), np.array([[1, 0, 0, 0, 1, 0]], "float32")
    dout = normal(1, 1, 4, 4)
    top, (dx, dtheta) = spatial_transformer(x, theta, (4, 4), FREE, lambda top: dout)
    layer = SpatialTransformer(data_format="channels_first")
    out, gradients = vjp(lambda *inputs: layer(list(inputs)), [x, theta], dout)
    check(out, x, 0)
    check(top, x, 0)
    check(gradients[0], dx, 1e-4)
    check(gradients[1], dtheta, 1e-4)


def test_refuses():
    with pytest.raises(ValueError, match="six entries"):
        SpatialTransformer(fixed=(1.0, None))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives):
    image, theta = keras.Input((6, 6, 2)), keras.Input((4,))
    x = keras.layers.Conv2D(3, 1, dtype=policy)(image)
    fixed = (None, 0.0, None, 0.0, None, None)
    x = SpatialTransformer((4, 5), fixed, dtype=policy)([x, theta])
    model = keras.Model([image, theta], x)
    data = [normal(4, 6, 6, 2), normal(4, 4)]
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((4, 4, 5, 3)), batch_size=3, verbose=0)
    survives(model, data)
