"""Losses of two blobs: against Caffe's results and NumPy readings of the C++."""

import keras
import loss_rules
import numpy as np
import pytest

from caffe2k.runtime.endpoint import LossEndpoint
from caffe2k.runtime.pair_losses import (
    ContrastiveLoss,
    L1Loss,
    SmoothL1Loss,
    WeightedEuclideanLoss,
)

RNG = np.random.default_rng(12)
SHAPES = [(5, 4), (3, 2, 3, 2), (1, 6)]


def normal(*shape):
    return RNG.normal(0, 1.5, shape).astype("float32")


@pytest.fixture
def measure(vjp):
    """The loss and its gradient for each blob, through an endpoint of (batch,)."""

    def run(loss, *blobs, weight=1.0):
        layer = LossEndpoint(loss, weight)

        def total(*inputs):
            out = layer(list(inputs))
            return keras.ops.mean(out) + 0 * sum(keras.ops.sum(x) for x in inputs)

        return vjp(total, list(blobs))

    return run


def test_contrastive_case(caffe_case, check, measure):
    case = caffe_case("contrastive")
    blobs = [case[f"in/{name}"] for name in ("a", "b", "sim")]
    value, gradients = measure(ContrastiveLoss(2.5), *blobs)
    check(value, case["out/out"])
    check(gradients[0], case["din/a"], 1e-4)
    check(gradients[1], case["din/b"], 1e-4)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 1, 1)])
def test_contrastive_rule(shape, margin, legacy, check, measure):
    a, b = normal(*shape) / 2, normal(*shape) / 2
    a[0] = b[0]
    a[1] = b[1] + 1e-4
    similar = np.array([0, 0, 0, 1, 0, 2.5, 0.5, 0], "float32")
    loss, diffs = loss_rules.contrastive(a, b, similar, margin, legacy)
    value, gradients = measure(
        ContrastiveLoss(margin, legacy), a, b, similar.reshape(8, *[1] * len(shape[1:]))
    )
    check(value, loss)
    for gradient, diff in zip(gradients, diffs, strict=False):
        check(gradient, diff, 1e-4)
    assert not gradients[2].any()


def test_smooth_l1_case(caffe_case, check, measure):
    case = caffe_case("ssd_smooth_l1")
    value, _ = measure(SmoothL1Loss(), case["in/a"], case["in/b"])
    check(value, case["out/out"])


@pytest.mark.parametrize("sigma", [1.0, 3.0, 0.5])
@pytest.mark.parametrize("weights", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_smooth_l1_rule(shape, weights, sigma, check, measure):
    blobs = [normal(*shape) for _ in range(2 + weights)]
    blobs[0].reshape(-1)[0] = blobs[1].reshape(-1)[0]
    loss, diffs = loss_rules.smooth_l1(*blobs, sigma=sigma)
    value, gradients = measure(SmoothL1Loss(sigma), *blobs)
    check(value, loss)
    for gradient, diff in zip(gradients, diffs, strict=False):
        check(gradient, diff, 1e-4)
    assert not any(gradient.any() for gradient in gradients[2:])


@pytest.mark.parametrize(
    ("settings", "divisor"),
    [
        ({"normalization": "NONE"}, 1),
        ({"normalization": 12.5}, 12.5),
        ({"normalization": 0.5}, 1),
        ({"outer_axes": (0, 2, 3)}, 3 * 3 * 2),
    ],
)
def test_smooth_l1_normalization(settings, divisor, check, measure):
    """SmoothL1LossLayer::get_normalizer of daijifeng001/caffe-rfcn."""
    a, b = normal(3, 2, 3, 2), normal(3, 2, 3, 2)
    loss, diffs = loss_rules.smooth_l1(a, b, divisor=divisor)
    value, gradients = measure(SmoothL1Loss(**settings), a, b)
    check(value, loss)
    check(gradients[0], diffs[0], 1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_l1_rule(shape, check, measure):
    a, b = normal(*shape), normal(*shape)
    a.reshape(-1)[0] = b.reshape(-1)[0]
    loss, diffs = loss_rules.l1(a, b)
    value, gradients = measure(L1Loss(), a, b)
    check(value, loss)
    check(gradients[0], diffs[0], 1e-4)
    check(gradients[1], diffs[1], 1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_weighted_euclidean_rule(shape, check, measure):
    a, b, weights = normal(*shape), normal(*shape), normal(*shape)
    loss, diffs = loss_rules.euclidean(a, b, weights)
    value, gradients = measure(WeightedEuclideanLoss(), a, b, weights)
    check(value, loss)
    check(gradients[0], diffs[0], 1e-4)
    check(gradients[1], diffs[1], 1e-4)
    assert not gradients[2].any()


LOSSES = [
    ContrastiveLoss(2.0, True),
    L1Loss(),
    SmoothL1Loss(3.0, 7.0, (0, 1)),
    WeightedEuclideanLoss(),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_serialization(loss):
    again = keras.losses.get(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize("loss", [L1Loss(), SmoothL1Loss()])
def test_refuses_shapes_that_do_not_match(loss):
    with pytest.raises(ValueError, match="for each sample"):
        loss(np.zeros((2, 4)), np.zeros((2, 3), "float32"))


def test_refuses_an_unknown_normalization():
    with pytest.raises(ValueError, match="MEAN"):
        SmoothL1Loss(normalization="MEAN")


def test_a_model_of_two_sides(survives, check):
    """Trained, saved and rebuilt with a loss of three blobs inside."""
    sides = [keras.Input((4,), name=n) for n in ("data", "data_p")]
    label = keras.Input((), name="sim")
    dense = keras.layers.Dense(2, name="feat")
    loss = LossEndpoint(ContrastiveLoss(), 0.5, name="loss")(
        [*map(dense, sides), label]
    )
    model = keras.Model([*sides, label], loss)
    x = {"data": normal(7, 4), "data_p": normal(7, 4)}
    x["sim"] = RNG.integers(0, 2, 7).astype("float32")
    model.compile(keras.optimizers.SGD(0.1))
    features = [np.asarray(dense(x[n])) for n in ("data", "data_p")]
    expected, _ = loss_rules.contrastive(*features, x["sim"])
    check(model.evaluate(x, batch_size=7, verbose=0), 0.5 * expected)
    check(model.predict(x, batch_size=7, verbose=0), np.full(7, expected))
    model.fit(x, batch_size=4, verbose=0)
    survives(model, x)
