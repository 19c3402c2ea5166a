"""Losses of one label a sample: against Caffe's results and NumPy readings of the C++."""

import itertools

import keras
import loss_rules
import numpy as np
import pytest

from caffe2k.runtime.class_losses import (
    GeneralTripletLoss,
    HingeLoss,
    MultinomialLogisticLoss,
    TripletDistances,
)

RNG = np.random.default_rng(11)
SHAPES = [(5, 4), (3, 2, 3, 2), (1, 7), (4, 3, 1, 1)]


def scores_and_labels(shape, scale=2.0):
    scores = RNG.normal(0, scale, shape).astype("float32")
    classes = int(np.prod(shape[1:]))
    return scores, RNG.integers(0, classes, shape[0]).astype("float32")


@pytest.mark.parametrize(("name", "norm"), [("hinge_l1", "L1"), ("hinge_l2", "L2")])
def test_hinge_case(name, norm, caffe_case, check, vjp):
    case = caffe_case(name)
    loss = HingeLoss(norm)
    value, gradients = vjp(lambda x: loss(case["in/label"], x), [case["in/data"]])
    check(value, case["out/out"])
    check(gradients[0], case["din/data"], 1e-4)


@pytest.mark.parametrize("norm", ["L1", "L2"])
@pytest.mark.parametrize("shape", SHAPES)
def test_hinge_rule(shape, norm, check, vjp):
    scores, labels = scores_and_labels(shape)
    # A hinge that is exactly closed has no gradient.
    scores.reshape(-1)[:2] = [-1, 1]
    loss, diff = loss_rules.hinge(scores, labels, norm)
    value, gradients = vjp(lambda x: HingeLoss(norm)(labels, x), [scores])
    check(value, loss)
    check(gradients[0], diff, 1e-4)


def test_multinomial_logistic_case(caffe_case, check, vjp):
    case = caffe_case("multinomial_logistic")
    loss = MultinomialLogisticLoss()
    value, gradients = vjp(lambda x: loss(case["in/label"], x), [case["in/data"]])
    check(value, case["out/out"])
    check(gradients[0], case["din/data"], 1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_multinomial_logistic_rule(shape, check, vjp):
    _, labels = scores_and_labels(shape)
    probabilities = RNG.random(shape).astype("float32")
    probabilities.reshape(shape[0], -1)[0, int(labels[0])] = 1e-25
    loss, diff = loss_rules.multinomial_logistic(probabilities, labels)
    value, gradients = vjp(
        lambda x: MultinomialLogisticLoss()(labels[:, None], x), [probabilities]
    )
    check(value, loss)
    check(gradients[0], diff, 1e-4)


SWITCHES = ("add_center_loss", "hardest_only", "positive_first")


@pytest.mark.parametrize(
    "on", list(itertools.product([False, True], repeat=3)), ids=str
)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0), (1.0, -1.5)])
def test_triplet_rule(on, weights, check, vjp):
    distances, labels = scores_and_labels((6, 5), 1.0)
    distances = np.abs(distances)
    # One row without an open hinge, one with a hardest distance of 0.
    distances[0], distances[1] = 9, 3
    distances[0, int(labels[0])] = 0
    distances[1, (int(labels[1]) + 1) % 5] = 0
    settings = dict(zip(SWITCHES, on, strict=True))
    settings.update(margin=0.3, positive_upper_bound=0.8)
    settings.update(zip(("positive_weight", "negative_weight"), weights, strict=True))
    expected, diff = loss_rules.triplet(distances, labels, **settings)
    loss = GeneralTripletLoss(**settings)
    value, gradients = vjp(lambda x: loss(labels, x), [distances])
    check(value, expected)
    check(gradients[0], diff, 1e-4)


def test_triplet_distances(check, vjp):
    distances, labels = scores_and_labels((6, 5))
    out, gradients = vjp(lambda x: TripletDistances()([x, labels]), [distances])
    rows = np.arange(6)
    same = distances[rows, labels.astype(int)]
    others = (distances.sum() - same.sum()) / 6 / 4
    check(out.mean(0), [same.mean(), others])
    assert not gradients[0].any()


LOSSES = [HingeLoss("L2"), MultinomialLogisticLoss(), GeneralTripletLoss(0.5, False)]
ids = {"ids": lambda loss: loss.name}


@pytest.mark.parametrize("loss", LOSSES, **ids)
def test_serialization(loss):
    again = keras.losses.get(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize("loss", LOSSES, **ids)
@pytest.mark.parametrize("bad", [-1, 4])
def test_label_out_of_range_makes_the_loss_nan(loss, bad, vjp):
    scores, labels = scores_and_labels((3, 4))
    labels[1] = bad
    value, _ = vjp(lambda x: loss(labels, x), [scores])
    assert np.isnan(value)


@pytest.mark.parametrize("loss", LOSSES, **ids)
def test_refuses_several_labels_a_sample(loss):
    with pytest.raises(ValueError, match="one label for each position"):
        loss(np.zeros((3, 2)), np.zeros((3, 4), "float32"))


def test_refuses_unknown_norm():
    with pytest.raises(ValueError, match="L3"):
        HingeLoss("L3")


def test_fit_is_compiled():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    x, y = RNG.normal(size=(7, 4)).astype("float32"), RNG.integers(0, 3, 7)
    for loss in LOSSES:
        model.compile("sgd", loss)
        # Batches of 4 and 3: the compiled step sees an unknown batch size.
        history = model.fit(x, y, batch_size=4, verbose=0).history
        assert np.isfinite(history["loss"][0])
