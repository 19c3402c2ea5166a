"""What `caffe test` prints: each batch, then the means."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.losses import SoftmaxWithLoss
from caffe2k.runtime.metrics import Accuracy, PerClassAccuracy
from caffe2k.runtime.scoring import score
from caffe2k.runtime.training_log import Output


def test_batches_and_means(capsys):
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="identity")]
    )
    model.compile(
        loss=SoftmaxWithLoss(),
        loss_weights=[0.5],
        metrics=[Accuracy(), PerClassAccuracy(2)],
    )
    batches = iter(
        [
            (np.array([[2, 0], [0, 3]], "float32"), np.array([0, 1], "float32")),
            (np.array([[0, 2], [0, 2]], "float32"), np.array([0, 1], "float32")),
        ]
    )
    outputs = [
        Output("accuracy", "accuracy"),
        Output("classes", "per_class_accuracy"),
        Output("loss", "loss", loss_weight=0.5, weighted=True),
    ]
    means = score(model, batches, 2, outputs)
    first = (np.log1p(np.exp(-2)) + np.log1p(np.exp(-3))) / 2
    second = (np.log1p(np.exp(2)) + np.log1p(np.exp(-2))) / 2
    loss = (first + second) / 2
    assert means[""] == pytest.approx(loss / 2, rel=1e-6)
    assert capsys.readouterr().out == (
        "Batch 0, accuracy = 1\n"
        "Batch 0, classes = 1\n"
        "Batch 0, classes = 1\n"
        f"Batch 0, loss = {first:.6g}\n"
        "Batch 1, accuracy = 0.5\n"
        "Batch 1, classes = 0\n"
        "Batch 1, classes = 1\n"
        f"Batch 1, loss = {second:.6g}\n"
        f"Loss: {loss / 2:.6g}\n"
        "accuracy = 0.75\n"
        "classes = 0.5\n"
        "classes = 1\n"
        f"loss = {loss:.6g} (* 0.5 = {loss / 2:.6g} loss)\n"
    )
