"""The mean average precision against SSD's ComputeAP, and the test that prints it."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.detection_evaluate import DetectionEvaluate
from caffe2k.runtime.mean_precision import (
    MeanPrecision,
    average_precision,
    class_precisions,
)


def compute_ap(found, true, version):
    """util/bbox_util.cpp, ComputeAP, step by step."""
    if not found or not true:
        return 0.0
    order = sorted(range(len(found)), key=lambda i: -found[i][0])
    right = wrong = 0
    precision, recall = [], []
    for i in order:
        right += found[i][1] == 1
        wrong += found[i][1] == 0
        precision.append(float(np.float32(right / (right + wrong))))
        recall.append(float(np.float32(right / true)))
    value, last = 0.0, len(order) - 1
    if version == "11point":
        best, start = [0.0] * 11, last
        for j in range(10, -1, -1):
            for i in range(start, -1, -1):
                if recall[i] < j / 10:
                    start = i
                    if j > 0:
                        best[j - 1] = best[j]
                    break
                best[j] = max(best[j], precision[i])
        return sum(best) / 11
    if version == "MaxIntegral":
        height, reached = precision[-1], recall[-1]
        for i in range(last - 1, -1, -1):
            height = max(precision[i], height)
            if abs(reached - recall[i]) > 1e-6:
                value += height * abs(reached - recall[i])
            reached = recall[i]
        return value + reached * height
    before = 0.0
    for i in range(last + 1):
        if abs(recall[i] - before) > 1e-6:
            value += precision[i] * abs(recall[i] - before)
        before = recall[i]
    return value


@pytest.mark.parametrize("version", ["11point", "MaxIntegral", "Integral"])
@pytest.mark.parametrize("number", [0, 1, 2, 5, 40])
def test_average_precision(version, number):
    rng = np.random.default_rng(number)
    for _ in range(20):
        found = np.stack([rng.uniform(size=number), rng.integers(0, 2, number)], 1)
        true = int(found[:, 1].sum()) + int(rng.integers(0, 3))
        expected = compute_ap(found.tolist(), true, version)
        made = average_precision(found.astype("float32"), true, version)
        assert made == pytest.approx(expected, abs=1e-5)


def test_recall_is_a_float32():
    """As a float32 seven of ten are less than 0.7."""
    found = np.array([[1 - i / 10, i < 7] for i in range(10)], "float32")
    assert average_precision(found, 10, "11point") == pytest.approx(7 / 11)


def test_classes():
    rows = np.array(
        [
            [-1, 1, 2, -1, -1],
            [-1, 2, 0, -1, -1],
            [-1, 3, 1, -1, -1],
            [0, 1, 0.9, 1, 0],
            [0, 1, 0.8, 0, 1],
            [0, 3, 0.7, 0, 0],  # a difficult box: it does not count
            [-1, 1, 1, -1, -1],
            [-1, -1, -1, -1, -1],  # under JAX
        ],
        "float32",
    )
    found = class_precisions(rows, "Integral")
    assert found == pytest.approx({1: 1 / 3, 2: 0, 3: 0})


def test_a_model_is_tested_on_its_batches(capsys):
    detections = keras.Input((None, 7, 1), name="found")
    truth = keras.Input((None, 8, 1), name="label")
    rows = DetectionEvaluate(3, data_format="channels_last", name="rows")
    model = keras.Model(
        {"found": detections, "label": truth}, rows([detections, truth])
    )
    box, far = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
    label = np.array([[0, 1, 0, *box, 0], [0, 2, 0, *far, 0]], "float32")

    def batch(*found):
        found = np.array(found, "float32")[None, :, :, None]
        return ({"found": found, "label": label[None, :, :, None]},)

    data = iter(
        [
            batch([0, 1, 0.9, *box], [0, 2, 0.8, *box]),
            batch([0, 1, 0.7, *far], [0, 2, 0.6, *far], [0, 1, 0.5, *box]),
        ]
    )
    found = MeanPrecision("MaxIntegral", per_class=True)(model, data, 2)
    # Class 1: right, wrong, right of 2; class 2: wrong, right of 2.
    first, second = 0.5 + 0.5 * 2 / 3, 0.5 * 0.5
    assert found == pytest.approx({"rows": (first + second) / 2})
    printed = capsys.readouterr().out
    assert f"class1: {first:.6g}\nclass2: {second:.6g}\n" in printed
    assert "Test net output #0: rows = " in printed
    with pytest.raises(ValueError, match="not one of"):
        MeanPrecision("10point")
