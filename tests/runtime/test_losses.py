"""Caffe's losses: against Caffe's results and NumPy readings of the C++ code."""

import keras
import loss_rules
import numpy as np
import pytest

from caffe2k.runtime.losses import (
    EuclideanLoss,
    SigmoidCrossEntropyLoss,
    SoftmaxWithLoss,
)

RNG = np.random.default_rng(3)
NORMALIZATIONS = ("FULL", "VALID", "BATCH_SIZE", "NONE")
FLOOR = np.finfo("float32").tiny


def softmax_rule(scores, labels, ignore_label, normalization):
    """softmax_loss_layer.cpp for axis 1 of (N, C, ...): (loss, bottom_diff)."""
    shifted = scores - scores.max(1, keepdims=True)
    prob = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    diff, loss, count = prob.copy(), 0.0, 0
    for at in np.ndindex(labels.shape):
        label = int(labels[at])
        if label == ignore_label:
            diff[(at[0], slice(None), *at[1:])] = 0
            continue
        where = (at[0], label, *at[1:])
        loss -= np.log(max(prob[where], FLOOR))
        diff[where] -= 1
        count += 1
    divisor = max(
        1,
        {"FULL": labels.size, "VALID": count, "NONE": 1}.get(
            normalization, labels.shape[0]
        ),
    )
    return loss / divisor, diff / divisor


SOFTMAX_CASES = {
    "softmaxloss": {},
    "softmaxloss_all_ignored": {"ignore_label": 7},
    "softmaxloss_batch_size": {"ignore_label": 255, "normalization": "BATCH_SIZE"},
    "softmaxloss_full": {"ignore_label": 255, "normalization": "FULL"},
    "softmaxloss_ignore": {"ignore_label": 255},
    "softmaxloss_none": {"ignore_label": 255, "normalization": "NONE"},
    "softmaxloss_normalize_false": {
        "ignore_label": 255,
        "normalization": "BATCH_SIZE",
    },
    "softmaxloss_spatial": {},
}


def to_last(x):
    return np.moveaxis(x, 1, -1) if x.ndim > 2 else x


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", SOFTMAX_CASES)
def test_softmax_case(name, channels_last, caffe_case, check, vjp):
    case = caffe_case(name)
    data, label, din = case["in/data"], case["in/label"], case["din/data"]
    axis = 1
    if channels_last:
        data, label, din = map(to_last, (data, label, din))
        axis = -1
    loss = SoftmaxWithLoss(axis=axis, **SOFTMAX_CASES[name])
    value, gradients = vjp(lambda x: loss(label, x), [data])
    check(value, case["out/out"])
    check(gradients[0], din, 1e-4)


@pytest.mark.parametrize("ignore_label", [None, 0, 255, -1])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_softmax_rule(normalization, ignore_label, check, vjp):
    scores = RNG.normal(0, 3, (3, 5, 2, 4)).astype("float32")
    labels = RNG.integers(0, 5, (3, 2, 4)).astype("float32")
    if ignore_label is not None:
        labels[RNG.random(labels.shape) < 0.4] = ignore_label
    value, diff = softmax_rule(scores, labels, ignore_label, normalization)
    loss = SoftmaxWithLoss(1, ignore_label, normalization)
    actual, gradients = vjp(lambda x: loss(labels[:, None], x), [scores])
    check(actual, value)
    check(gradients[0], diff, 1e-4)


def test_batch_size_counts_all_axes_before_the_class_axis(check):
    scores = RNG.normal(size=(3, 4, 5)).astype("float32")
    labels = RNG.integers(0, 5, (3, 4))
    value, _ = softmax_rule(
        scores.reshape(12, 5), labels.reshape(12), None, "BATCH_SIZE"
    )
    loss = SoftmaxWithLoss(-1, normalization="BATCH_SIZE", outer_axes=(0, 1))
    check(loss(labels, scores), value)


@pytest.mark.parametrize("normalization", [*NORMALIZATIONS, 7.0])
def test_class_weights(normalization, check, vjp):
    """softmax_loss_layer.cpp of alexgkendall/caffe-segnet: the divisor is not weighed."""
    weights = (0.2, 1.5, 0.0, 3.0)
    scores = RNG.normal(0, 3, (3, 4, 5)).astype("float32")
    labels = RNG.integers(0, 4, (3, 5))
    labels[RNG.random(labels.shape) < 0.3] = 11
    value, diff = loss_rules.infogain(
        scores,
        labels,
        np.diag(weights),
        1,
        11,
        normalization if isinstance(normalization, str) else "NONE",
    )
    divisor = normalization if isinstance(normalization, float) else 1
    loss = SoftmaxWithLoss(1, 11, normalization, class_weights=weights)
    actual, gradients = vjp(lambda x: loss(labels, x), [scores])
    check(actual, value / divisor)
    check(gradients[0], diff / divisor, 1e-4)


def test_improbable_class_has_a_bounded_loss_and_the_full_gradient(check, vjp):
    scores = np.array([[0, 500, 0], [1e10, 0, 0], [0, 1, 0]], "float32")
    labels = np.array([0, 2, 1])
    value, diff = softmax_rule(scores, labels, None, "VALID")
    actual, gradients = vjp(lambda x: SoftmaxWithLoss()(labels, x), [scores])
    check(actual, value)
    check(gradients[0], diff, 1e-4)


@pytest.mark.parametrize("bad", [-1, 3, 255])
def test_label_out_of_range_makes_the_loss_nan(bad, vjp):
    scores = np.zeros((2, 3), "float32")
    value, gradients = vjp(lambda x: SoftmaxWithLoss()(np.array([1, bad]), x), [scores])
    assert np.isnan(value)
    assert np.isfinite(gradients[0]).all()


def test_labels_are_cut_to_integers_and_get_no_gradient(check, vjp):
    scores = RNG.normal(size=(2, 3)).astype("float32")
    labels = np.array([[1.9], [-0.5]], "float32")
    value, gradients = vjp(
        lambda x, y: SoftmaxWithLoss()(y, x) + 0.0 * keras.ops.sum(y), [scores, labels]
    )
    check(value, softmax_rule(scores, np.array([1, 0]), None, "VALID")[0])
    np.testing.assert_array_equal(gradients[1], 0)


SIGMOID_CASES = {
    "sigmoid_ce": {},
    "sigmoid_ce_soft_targets": {},
    "sigmoid_ce_valid_ignore": {"ignore_label": -1, "normalization": "VALID"},
}


@pytest.mark.parametrize("name", SIGMOID_CASES)
def test_sigmoid_case(name, caffe_case, check, vjp):
    case = caffe_case(name)
    loss = SigmoidCrossEntropyLoss(**SIGMOID_CASES[name])
    value, gradients = vjp(lambda x: loss(case["in/label"], x), [case["in/data"]])
    check(value, case["out/out"])
    check(gradients[0], case["din/data"], 1e-4)


@pytest.mark.parametrize("ignore_label", [None, 0, -1])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_sigmoid_rule(normalization, ignore_label, check, vjp):
    scores = RNG.normal(0, 8, (3, 2, 4)).astype("float32")
    scores[0, 0, 0] = 0
    targets = RNG.choice([-1.5, -1, 0, 0.5, 1], scores.shape).astype("float32")
    valid = np.trunc(targets) != ignore_label
    divisor = max(
        1, {"FULL": 24, "VALID": valid.sum(), "BATCH_SIZE": 3, "NONE": 1}[normalization]
    )
    positive = scores >= 0
    losses = np.log(1 + np.exp(scores - 2 * scores * positive))
    losses -= scores * (targets - positive)
    diff = np.where(valid, 1 / (1 + np.exp(-scores)) - targets, 0) / divisor

    loss = SigmoidCrossEntropyLoss(ignore_label, normalization)
    value, gradients = vjp(
        lambda x, y: loss(y, x) + 0.0 * keras.ops.sum(y),
        [scores, targets.reshape(3, 8)],
    )
    check(value, losses[valid].sum() / divisor)
    check(gradients[0], diff, 1e-4)
    np.testing.assert_array_equal(gradients[1], 0)


@pytest.mark.parametrize(
    ("name", "weight"), [("euclidean", 1.0), ("euclidean_weight", 2.5)]
)
def test_euclidean_case(name, weight, caffe_case, check, vjp):
    case = caffe_case(name)
    loss = EuclideanLoss()
    value, gradients = vjp(
        lambda x, y: weight * loss(y, x), [case["in/data"], case["in/label"]]
    )
    check(value, weight * case["out/out"])
    check(gradients[0], case["din/data"], 1e-4)
    check(gradients[1], case["din/label"], 1e-4)


def test_one_value_for_each_sample(check):
    x, y = np.array([1.0, 4.0], "float32"), np.array([[3.0], [0.0]], "float32")
    check(EuclideanLoss()(y, x), (2**2 + 4**2) / 2 / 2)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (SoftmaxWithLoss(), np.zeros((2, 4))),
        (SigmoidCrossEntropyLoss(), np.zeros((2, 2))),
        (EuclideanLoss(), np.zeros((2, 4))),
    ],
)
def test_refuses_shapes_that_do_not_match(loss, targets):
    with pytest.raises(ValueError, match=r"for each (sample|position).*\(2, 3\)"):
        loss(targets, np.zeros((2, 3), "float32"))


def test_refuses_unknown_settings():
    with pytest.raises(ValueError, match="MEAN"):
        SoftmaxWithLoss(normalization="MEAN")
    with pytest.raises(ValueError, match="class axis 0"):
        SoftmaxWithLoss(axis=0)(np.zeros(3), np.zeros((2, 3), "float32"))


LOSSES = [
    SoftmaxWithLoss(-1, 2, "BATCH_SIZE", outer_axes=(0, 1)),
    SoftmaxWithLoss(class_weights=(0.5, 2.0, 1.0)),
    SigmoidCrossEntropyLoss(-1, "FULL"),
    EuclideanLoss(),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_serialization(loss):
    again = keras.losses.get(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_with_weights(policy, check):
    inputs = keras.Input((4,))
    dense = [keras.layers.Dense(3, name=n, dtype=policy) for n in "abc"]
    model = keras.Model(inputs, {d.name: d(inputs) for d in dense})
    losses = {
        "a": SoftmaxWithLoss(),
        "b": SigmoidCrossEntropyLoss(),
        "c": EuclideanLoss(),
    }
    model.compile("sgd", losses, loss_weights={"a": 1.0, "b": 0.5, "c": 2.0})
    x = RNG.normal(size=(7, 4)).astype("float32")
    y = {
        "a": RNG.integers(0, 3, 7),
        "b": RNG.integers(0, 2, (7, 3)).astype("float32"),
        "c": RNG.normal(size=(7, 3)).astype("float32"),
    }
    # Batches of 4 and 3: the compiled step sees an unknown batch size.
    assert np.isfinite(model.fit(x, y, batch_size=4, verbose=0).history["loss"][0])
    scores = model.predict(x, verbose=0)
    parts = {key: float(loss(y[key], scores[key])) for key, loss in losses.items()}
    result = model.evaluate(x, y, batch_size=7, verbose=0, return_dict=True)
    tolerance = 1e-5 if policy == "float32" else 2e-3
    check(result["loss"], parts["a"] + 0.5 * parts["b"] + 2 * parts["c"], tolerance)


def test_class_weight(check):
    identity = keras.layers.Dense(3, use_bias=False, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((3,)), identity])
    model.compile("sgd", SoftmaxWithLoss())
    x, y = RNG.normal(size=(4, 3)).astype("float32"), np.array([0, 1, 2, 1])
    weights = {0: 1.0, 1: 3.0, 2: 0.0}
    each = [
        softmax_rule(x[i : i + 1], y[i : i + 1], None, "VALID")[0] for i in range(4)
    ]
    history = model.fit(x, y, batch_size=4, class_weight=weights, verbose=0)
    check(
        history.history["loss"][0],
        np.mean([e * weights[k] for e, k in zip(each, y, strict=True)]),
    )
