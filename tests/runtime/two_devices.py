"""Trains once on one CPU and once on two halves of it; prints how far the weights differ."""

import contextlib
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

from caffe2k.runtime.callbacks import Evaluation, Solve, TestNet
from caffe2k.runtime.devices import for_fit, parallel
from caffe2k.runtime.losses import SoftmaxWithLoss
from caffe2k.runtime.multipliers import Multiplier
from caffe2k.runtime.optimizers import CaffeAdam, CaffeSGD
from caffe2k.runtime.schedules import Step
from caffe2k.runtime.streams import Stream

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )

SETTINGS = {
    "weight_decay": 0.01,
    "momentum": 0.9,
    "multipliers": [Multiplier(1, 1), Multiplier(2, 0)],
}


def batches():
    rng = np.random.default_rng(0)
    while True:
        x = rng.normal(size=(8, 5)).astype("float32")
        yield x, rng.integers(0, 3, 8).astype("float32")


def trained(optimizer, scope):
    keras.utils.set_random_seed(1)
    with scope:
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
        model.compile(
            optimizer(Step(0.05, gamma=0.5, stepsize=3), **SETTINGS), SoftmaxWithLoss()
        )
        data = Stream(batches())
        callbacks = [
            Solve(8, data),
            Evaluation([TestNet(Stream(batches()), 2)], every=4),
        ]
        model.fit(
            for_fit(data),
            steps_per_epoch=4,
            epochs=2,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    return model.get_weights()


for optimizer in (CaffeSGD, CaffeAdam):
    one = trained(optimizer, contextlib.nullcontext())
    two = trained(optimizer, parallel(["cpu:0", "cpu:1"]))
    difference = max(np.abs(a - b).max() for a, b in zip(one, two, strict=True))
    print(f"difference {difference:.3g}")
