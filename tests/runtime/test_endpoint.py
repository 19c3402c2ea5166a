"""Losses inside the model: their value, their gradient, their output."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.endpoint import LossEndpoint, WeightedOutput
from caffe2k.runtime.losses import EuclideanLoss, SoftmaxWithLoss

RNG = np.random.default_rng(6)


def two_losses(policy="float32"):
    data, label = keras.Input((4,), name="data"), keras.Input((), name="label")
    target = keras.Input((2,), name="target")
    scores = keras.layers.Dense(3, name="scores", dtype=policy)(data)
    values = keras.layers.Dense(2, name="values", dtype=policy)(data)
    outputs = {
        "l1": LossEndpoint(SoftmaxWithLoss(), 0.3, name="l1", dtype=policy)(
            [scores, label]
        ),
        "l2": LossEndpoint(EuclideanLoss(), name="l2", dtype=policy)([values, target]),
        "sum": WeightedOutput(0.01, name="sum", dtype=policy)(scores),
    }
    return keras.Model([data, label, target], outputs)


def inputs(samples):
    return {
        "data": RNG.normal(size=(samples, 4)).astype("float32"),
        "label": RNG.integers(0, 3, samples).astype("float32"),
        "target": RNG.normal(size=(samples, 2)).astype("float32"),
    }


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_loss_of_the_model(policy, check):
    model, x = two_losses(policy), inputs(5)
    model.compile("sgd")
    out = model.predict(x, batch_size=5, verbose=0)
    scores, values = (
        keras.ops.convert_to_numpy(model.get_layer(name)(x["data"]))
        for name in ("scores", "values")
    )
    l1, l2 = SoftmaxWithLoss()(x["label"], scores), EuclideanLoss()(x["target"], values)
    check(out["l1"], np.full(5, float(l1)))
    check(out["l2"], np.full(5, float(l2)))
    total = 0.3 * float(l1) + float(l2) + 0.01 * out["sum"].sum()
    tolerance = 1e-5 if policy == "float32" else 2e-3
    check(model.evaluate(x, batch_size=5, verbose=0), total, tolerance)


def test_gradient_reaches_the_weights(check):
    """One step of SGD with rate 1 shows the gradient on every backend."""
    model, x = two_losses(), inputs(5)
    scores, values = model.get_layer("scores"), model.get_layer("values")
    before = [layer.bias.numpy() for layer in (scores, values)]
    prob = keras.ops.convert_to_numpy(keras.ops.softmax(scores(x["data"])))
    prediction = keras.ops.convert_to_numpy(values(x["data"]))
    hits = np.eye(3)[x["label"].astype(int)]
    model.compile(keras.optimizers.SGD(1.0))
    model.fit(x, batch_size=5, verbose=0)
    step = [
        b - layer.bias.numpy()
        for b, layer in zip(before, (scores, values), strict=True)
    ]
    check(step[0], 0.3 * (prob - hits).mean(0) + 0.01 * 5, 1e-4)
    check(step[1], (prediction - x["target"]).mean(0), 1e-4)


def test_a_learned_label_gets_its_gradient(vjp, check):
    y = RNG.normal(size=(3, 2)).astype("float32")
    x = RNG.normal(size=(3, 2)).astype("float32")
    out, gradients = vjp(lambda a, b: LossEndpoint(EuclideanLoss())([a, b]), [x, y])
    assert out.shape == (3,)
    check(gradients[1], 3 * (y - x) / 3, 1e-4)


def test_large_labels_survive_half_precision():
    scores = np.zeros((1, 5000), "float32")
    scores[0, 4999] = 30
    layer = LossEndpoint(SoftmaxWithLoss(), dtype="mixed_bfloat16")
    assert float(layer([scores, np.array([4999.0], "float32")])[0]) < 1e-3


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="for each sample"):
        LossEndpoint(EuclideanLoss())([np.zeros((2, 3)), np.zeros((2, 4))])


def test_survives_saving(survives):
    model = two_losses()
    model.compile("sgd")
    model.fit(inputs(6), batch_size=4, verbose=0)
    survives(model, inputs(3))
