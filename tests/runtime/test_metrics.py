"""Caffe's Accuracy: against Caffe's results and a NumPy reading of its rule."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.metrics import Accuracy, BatchAccuracy, PerClassAccuracy

RNG = np.random.default_rng(4)


def rule(scores, labels, top_k=1, ignore_label=None):
    """accuracy_layer.cpp for (positions, classes): (accuracy, per-class accuracy)."""
    classes = scores.shape[1]
    right, count = np.zeros(classes), np.zeros(classes)
    for row, label in zip(scores, labels, strict=True):
        if label != ignore_label:
            count[label] += 1
            right[label] += (row >= row[label]).sum() - 1 < top_k
    per_class = np.where(count > 0, right / np.maximum(count, 1), 0)
    return right.sum() / max(count.sum(), 1), per_class


@pytest.mark.parametrize(
    ("name", "top_k"),
    [("accuracy_top1", 1), ("accuracy_top3", 3), ("accuracy_per_class", 1)],
)
def test_caffe_case(name, top_k, caffe_case, check):
    case = caffe_case(name)
    data, label = case["in/data"], case["in/label"]
    output = case["out/acc"] if "out/acc" in case else case["out/out"]
    check(Accuracy(top_k)(label, data), output)
    if "out/per" in case:
        check(PerClassAccuracy(data.shape[1])(label, data), case["out/per"])


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("ignore_label", [None, 0, 255])
@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_rule(top_k, ignore_label, axis, check):
    # Scores from 0 to 2 make ties; class 4 never occurs.
    scores = RNG.integers(0, 3, (6, 2, 3, 5)).astype("float32")
    labels = RNG.integers(0, 4, (6, 2, 3))
    if ignore_label is not None:
        labels[RNG.random(labels.shape) < 0.3] = ignore_label
    accuracy, per_class = rule(
        scores.reshape(-1, 5), labels.reshape(-1), top_k, ignore_label
    )
    scores = np.moveaxis(scores, -1, axis)
    check(
        Accuracy(top_k, axis, ignore_label)(np.expand_dims(labels, axis), scores),
        accuracy,
    )
    check(PerClassAccuracy(5, axis, ignore_label, top_k)(labels, scores), per_class)


def test_a_tie_loses():
    scores = np.array([[1, 1, 0], [0, 0, 0], [2, 1, 1]], "float32")
    assert float(Accuracy()([0, 1, 0], scores)) == pytest.approx(1 / 3)
    assert float(Accuracy(top_k=2)([0, 1, 0], scores)) == pytest.approx(2 / 3)


def test_all_ignored_and_unknown_labels_count_as_wrong():
    scores = np.eye(2, dtype="float32")
    assert float(Accuracy(ignore_label=1)([1, 1], scores)) == 0
    assert float(Accuracy()([0, 7], scores - 2)) == 0.5


def test_mean_over_batches(check):
    overall, per_class = Accuracy(ignore_label=9), PerClassAccuracy(3, ignore_label=9)
    expected = []
    for size in (4, 2, 5):
        scores = RNG.normal(size=(size, 3)).astype("float32")
        labels = RNG.choice([0, 1, 2, 9], size)
        overall.update_state(labels, scores)
        per_class.update_state(labels, scores)
        expected.append(rule(scores, labels, 1, 9))
    check(overall.result(), np.mean([e[0] for e in expected]))
    check(per_class.result(), np.mean([e[1] for e in expected], axis=0))
    per_class.reset_state()
    check(per_class.result(), np.zeros(3))


def test_sample_weight(check):
    scores, labels = np.eye(3, dtype="float32"), np.array([0, 1, 0])
    weights = np.array([1.0, 2.0, 5.0])
    check(Accuracy()(labels, scores, sample_weight=weights), 3 / 8)
    per_class = PerClassAccuracy(3)(labels, scores, sample_weight=weights)
    check(per_class, np.array([1 / 6, 1, 0]))


def test_refuses():
    scores = np.zeros((2, 3), "float32")
    with pytest.raises(ValueError, match="only 3 classes"):
        Accuracy(top_k=4)([0, 1], scores)
    with pytest.raises(ValueError, match="one label for each position"):
        Accuracy()(np.zeros((2, 2)), scores)
    with pytest.raises(ValueError, match="Expected 4 classes"):
        PerClassAccuracy(4)([0, 1], scores)


@pytest.mark.parametrize("label_shape", [(10,), (10, 1)])
def test_fit_and_evaluate(label_shape, check, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[Accuracy(), Accuracy(2, name="top2"), PerClassAccuracy(3)],
    )
    x = RNG.normal(size=(10, 4)).astype("float32")
    y = RNG.integers(0, 3, 10)
    history = model.fit(
        x,
        y.reshape(label_shape),
        batch_size=4,
        validation_data=(x, y.reshape(label_shape)),
        verbose=2,
        callbacks=[keras.callbacks.CSVLogger(tmp_path / "log.csv")],
    )
    assert set(history.history) >= {"accuracy", "val_top2", "val_per_class_accuracy"}
    result = model.evaluate(
        x, y.reshape(label_shape), batch_size=4, verbose=1, return_dict=True
    )
    scores = model.predict(x, verbose=0)
    parts = [rule(scores[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)]
    check(result["accuracy"], np.mean([p[0] for p in parts]))
    check(result["per_class_accuracy"], np.mean([p[1] for p in parts], axis=0))


@pytest.mark.parametrize(
    "metric", [Accuracy(5, 1, 255, name="top5"), PerClassAccuracy(4, 1, 255, 2)]
)
def test_serialization(metric):
    again = keras.metrics.get(keras.metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()


@pytest.mark.parametrize("ignore_label", [None, 255])
@pytest.mark.parametrize("top_k", [1, 2])
def test_accuracy_inside_the_model(top_k, ignore_label, check, vjp):
    scores = RNG.integers(0, 3, (6, 5)).astype("float32")
    labels = RNG.integers(0, 4, (6, 1)).astype("float32")
    if ignore_label is not None:
        labels[:2] = ignore_label
    integers = labels.ravel().astype(int)
    accuracy, per_class = rule(scores, integers, top_k, ignore_label)
    one = BatchAccuracy(top_k, ignore_label=ignore_label)
    each = BatchAccuracy(top_k, ignore_label=ignore_label, per_class=True)
    out, gradients = vjp(lambda x: one([x, labels]), [scores])
    check(out, np.full(6, accuracy))
    assert not gradients[0].any()
    check(each([scores, labels]), np.tile(per_class, (6, 1)))


def test_accuracy_inside_the_model_survives(survives):
    scores, labels = keras.Input((5,), name="scores"), keras.Input((), name="labels")
    outputs = {
        "acc": BatchAccuracy(2, name="acc")([scores, labels]),
        "per": BatchAccuracy(per_class=True, name="per")([scores, labels]),
    }
    data = {
        "scores": RNG.normal(size=(6, 5)).astype("float32"),
        "labels": RNG.integers(0, 5, 6).astype("float32"),
    }
    survives(keras.Model([scores, labels], outputs), data)
