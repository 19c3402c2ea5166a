"""ROIPooling, PSROIPooling: against NumPy readings of the forks' layers."""

import keras
import numpy as np
import pytest
from region_rules import psroi_pooling, roi_pooling

from caffe2k.runtime.regions import PSROIPooling, ROIPooling

RNG = np.random.default_rng(9)
FORMATS = {"channels_last": (0, 2, 3, 1), "channels_first": (0, 1, 2, 3)}


def drawn():
    made = []

    def dout_of(top):
        made.append(RNG.normal(size=top.shape).astype("float32"))
        return made[-1]

    return dout_of, made


def regions(images, extent, scale):
    """Ordinary regions, then those over the border, beyond it, and turned round."""
    corners = np.sort(RNG.uniform(0, extent / scale, (9, 2, 2)), axis=1)
    corners = corners.reshape(9, 4)
    corners[4] = (-3 / scale, -2 / scale, extent / scale, 2 * extent / scale)
    corners[5] = np.array([2, 3, 4, 5]) * extent / scale
    corners[6] = corners[6, [2, 3, 0, 1]]
    corners[7, 2:] = corners[7, :2]
    # Halves are rounded away from zero.
    corners[8] = np.array([0.5, -0.5, 2.5, 4.5]) / (scale if scale in (0.5, 1) else 1)
    image = RNG.integers(0, images, (9, 1))
    return np.concatenate([image, corners], axis=1).astype("float32")


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("scale", [1, 0.5, 0.0625])
@pytest.mark.parametrize("pooled", [(1, 1), (2, 3), (7, 6)])
def test_roi_pooling(pooled, scale, data_format, check, vjp):
    order = FORMATS[data_format]
    back = np.argsort(order)
    # Values from 0 to 4 make ties in many bins.
    x = RNG.integers(-2, 3, (2, 3, 9, 11)).astype("float32")
    rois = regions(2, 10, scale)
    dout_of, made = drawn()
    top, dx = roi_pooling(x, rois, pooled, scale, dout_of)
    layer = ROIPooling(*pooled, scale, data_format=data_format)
    inputs, dout = [x.transpose(order), rois], made[0].transpose(order)
    out, gradients = vjp(lambda *inputs: layer(list(inputs)), inputs, dout)
    check(out.transpose(back), top, 0)
    check(gradients[0].transpose(back), dx, 1e-4)
    assert not gradients[1].any()
    assert layer.compute_output_shape([i.shape for i in inputs]) == out.shape


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("scale", [1, 0.5, 0.0625])
@pytest.mark.parametrize(("outputs", "bins"), [(3, 1), (2, 3), (1, 7)])
def test_psroi_pooling(outputs, bins, scale, data_format, check, vjp):
    order = FORMATS[data_format]
    back = np.argsort(order)
    x = RNG.normal(size=(2, outputs * bins**2, 9, 11)).astype("float32")
    rois = regions(2, 10, scale)
    dout_of, made = drawn()
    top, dx = psroi_pooling(x, rois, outputs, bins, scale, dout_of)
    layer = PSROIPooling(outputs, bins, scale, data_format=data_format)
    inputs, dout = [x.transpose(order), rois], made[0].transpose(order)
    out, gradients = vjp(lambda *inputs: layer(list(inputs)), inputs, dout)
    check(out.transpose(back), top)
    check(gradients[0].transpose(back), dx, 1e-4)
    assert not gradients[1].any()
    assert layer.compute_output_shape([i.shape for i in inputs]) == out.shape


def test_regions_of_rank_4(check):
    x = RNG.normal(size=(2, 6, 6, 4)).astype("float32")
    rois = regions(2, 6, 1)
    for layer in (ROIPooling(2, 2), PSROIPooling(1, 2, 1)):
        check(layer([x, rois[:, :, None, None]]), layer([x, rois]), 0)


def test_refuses():
    with pytest.raises(ValueError, match="at least one bin"):
        ROIPooling(0, 2)
    with pytest.raises(ValueError, match="3 x 2 x 2 channels"):
        PSROIPooling(3, 2, 1)([np.zeros((1, 4, 4, 4), "float32"), regions(1, 4, 1)])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives):
    image, rois = keras.Input((8, 8, 2)), keras.Input((5,))
    x = keras.layers.Conv2D(4, 1, dtype=policy)(image)
    outputs = [
        ROIPooling(2, 3, 0.5, dtype=policy)([x, rois]),
        PSROIPooling(1, 2, 0.5, dtype=policy)([x, rois]),
    ]
    outputs = [keras.layers.Flatten(dtype="float32")(x) for x in outputs]
    model = keras.Model([image, rois], keras.layers.Concatenate()(outputs))
    data = [RNG.normal(size=(9, 8, 8, 2)).astype("float32"), regions(3, 8, 0.5)]
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((9, *model.output_shape[1:])), batch_size=9, verbose=0)
    survives(model, data)
