"""SegAccuracy against a NumPy reading of the fork's C++."""

import keras
import loss_rules
import numpy as np
import pytest

from caffe2k.runtime.losses import SoftmaxWithLoss
from caffe2k.runtime.segmentation import BatchSegAccuracy, SegAccuracy

RNG = np.random.default_rng(15)


def batch(classes=4, ignored=()):
    # Few values, so that scores are often equal.
    scores = RNG.integers(0, 3, (2, classes, 3, 5)).astype("float32")
    labels = RNG.integers(0, classes - 1, (2, 1, 3, 5)).astype("float32")
    for label in ignored:
        labels[RNG.random(labels.shape) < 0.3] = label
    return scores, labels


@pytest.mark.parametrize("ignored", [(), (255,), (255, 1)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_mean_of_batches(channels_last, ignored, check):
    metric = SegAccuracy(4, ignored, axis=-1 if channels_last else 1)
    expected = []
    for _ in range(3):
        scores, labels = batch(ignored=ignored)
        matrix = loss_rules.confusion(scores, labels, ignored)
        expected.append(loss_rules.seg_measures(matrix))
        if channels_last:
            scores, labels = (x.transpose(0, 2, 3, 1) for x in (scores, labels))
        metric.update_state(labels, scores)
    check(metric.result(), np.mean(expected, axis=0))


def test_without_reset_the_matrix_grows(check):
    metric, expected, matrix = SegAccuracy(4, axis=1, reset=False), [], 0
    for _ in range(3):
        scores, labels = batch()
        matrix = matrix + loss_rules.confusion(scores, labels)
        expected.append(loss_rules.seg_measures(matrix))
        metric.update_state(labels, scores)
    check(metric.result(), np.mean(expected, axis=0))
    metric.reset_state()
    scores, labels = batch()
    metric.update_state(labels, scores)
    check(
        metric.result(), loss_rules.seg_measures(loss_rules.confusion(scores, labels))
    )


def test_all_ignored(check):
    metric = SegAccuracy(3, (255,), axis=1)
    metric.update_state(np.full((1, 1, 2, 2), 255.0), np.zeros((1, 3, 2, 2), "float32"))
    check(metric.result(), [0, 0, 1])


def test_a_label_that_is_no_class_makes_the_result_nan():
    metric = SegAccuracy(3, (255,), axis=1)
    metric.update_state(np.full((1, 1, 2, 2), 3.0), np.zeros((1, 3, 2, 2), "float32"))
    assert np.isnan(keras.ops.convert_to_numpy(metric.result())).all()


def test_evaluate_and_serialization(check):
    metric = SegAccuracy(4, (255,), axis=1, name="seg")
    again = keras.metrics.get(keras.metrics.serialize(metric))
    assert again.get_config() == metric.get_config()
    inputs = keras.Input((4, 3, 5))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=SoftmaxWithLoss(1, 255), metrics=[again])
    scores, labels = batch(ignored=(255,))
    result = model.evaluate(scores, labels, verbose=0, return_dict=True)
    expected = loss_rules.seg_measures(loss_rules.confusion(scores, labels, (255,)))
    check(result["seg"], expected)


def test_refuses_sample_weights():
    with pytest.raises(ValueError, match="sample_weight"):
        SegAccuracy(4, axis=1).update_state(*batch()[::-1], sample_weight=np.ones(2))


@pytest.mark.parametrize("channels_last", [False, True])
def test_of_a_batch_as_a_layer(channels_last, check, vjp):
    scores, labels = batch(ignored=(255,))
    measures = loss_rules.seg_measures(loss_rules.confusion(scores, labels, (255,)))
    shape = (1, 3, 1) if channels_last else (1, 1, 3)
    if channels_last:
        scores, labels = (x.transpose(0, 2, 3, 1) for x in (scores, labels))
    layer = BatchSegAccuracy((255,), -1 if channels_last else 1, shape)
    out, diffs = vjp(lambda *pair: layer(pair), [scores, labels], np.ones((2, *shape)))
    check(out, np.broadcast_to(measures.reshape(shape), (2, *shape)))
    assert not any(np.any(diff) for diff in diffs)
