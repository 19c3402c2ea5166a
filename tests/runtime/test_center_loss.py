"""CenterLoss against a NumPy reading of the fork's C++."""

import keras
import loss_rules
import numpy as np
import pytest

from caffe2k.runtime.center_loss import CenterLoss
from caffe2k.runtime.optimizers import CaffeSGD
from caffe2k.runtime.schedules import Fixed

RNG = np.random.default_rng(14)


def blobs(shape=(6, 4), classes=5):
    features = RNG.normal(size=shape).astype("float32")
    labels = RNG.integers(0, classes - 1, shape[0]).astype("float32")
    centers = RNG.normal(size=(classes, int(np.prod(shape[1:])))).astype("float32")
    return features, labels, centers


def added_loss(layer):
    return layer.losses[0]


@pytest.mark.parametrize("distance_type", ["L2", "L1"])
@pytest.mark.parametrize("loss_weight", [1.0, 0.008])
@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 1, 2)])
def test_rule(shape, loss_weight, distance_type, check, vjp):
    features, labels, centers = blobs(shape)
    layer = CenterLoss(5, distance_type, loss_weight)
    layer.build([shape, (shape[0],)])
    layer.set_weights([centers])
    loss, diff, steps = loss_rules.center(features, labels, centers, distance_type)
    check(layer([features, labels[:, None]]), np.full(shape[0], loss))

    def objective(x):
        layer([x, labels])
        return added_loss(layer)

    value, gradients = vjp(objective, [features], variables=[layer.centers])
    check(value, loss_weight * loss)
    check(gradients[0], loss_weight * diff, 1e-4)
    check(keras.ops.convert_to_tensor(gradients[1]), steps, 1e-4)


def test_label_out_of_range_makes_the_loss_nan():
    features, labels, _ = blobs()
    labels[2] = 5
    assert np.isnan(keras.ops.convert_to_numpy(CenterLoss(5)([features, labels]))).all()


def test_refuses_unknown_distances_and_several_labels():
    with pytest.raises(ValueError, match="L3"):
        CenterLoss(5, "L3")
    with pytest.raises(ValueError, match="one label for each position"):
        CenterLoss(5)([np.zeros((2, 3), "float32"), np.zeros((2, 2), "float32")])


def test_a_step_of_training(survives, check):
    features, labels, centers = blobs()
    data, label = keras.Input((4,), name="data"), keras.Input((), name="label")
    loss = CenterLoss(5, loss_weight=0.1, name="center_loss")([data, label])
    model = keras.Model([data, label], loss)
    layer = model.get_layer("center_loss")
    layer.set_weights([centers])
    model.compile(CaffeSGD(Fixed(0.5)))
    x = {"data": features, "label": labels}
    model.fit(x, batch_size=6, verbose=0)
    _, _, steps = loss_rules.center(features, labels, centers)
    check(layer.get_weights()[0], centers - 0.5 * steps)
    survives(model, x)
