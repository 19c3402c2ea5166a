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
from caffe2k.runtime.optimizers import (
    CaffeAdaDelta,
    CaffeAdam,
    CaffeNesterov,
    CaffeRMSProp,
    CaffeSGD,
)
from caffe2k.runtime.schedules import Step
from caffe2k.runtime.streams import Stream

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )

SHARED = {"weight_decay": 0.01, "multipliers": [Multiplier(1, 1), Multiplier(2, 0)]}
MOMENTUM = {"momentum": 0.9}
# less than the norm of most gradients here
CLIP = {"clip_gradients": 0.5}
GATHER = {"iter_size": 2}
SOLVERS = [
    (CaffeSGD, MOMENTUM),
    (CaffeSGD, MOMENTUM | CLIP),
    (CaffeSGD, MOMENTUM | GATHER),
    (CaffeNesterov, MOMENTUM | CLIP | GATHER),
    (CaffeRMSProp, CLIP | GATHER),
    (CaffeAdaDelta, MOMENTUM | CLIP | GATHER | {"delta": 0.01}),
    (CaffeAdam, MOMENTUM | CLIP | GATHER),
]


def batches():
    rng = np.random.default_rng(0)
    while True:
        x = rng.normal(size=(8, 5)).astype("float32")
        yield x, rng.integers(0, 3, 8).astype("float32")


def trained(solver, settings, scope):
    keras.utils.set_random_seed(1)
    with scope:
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
        rate = Step(0.05, gamma=0.5, stepsize=3)
        model.compile(solver(rate, **SHARED, **settings), SoftmaxWithLoss())
        data = Stream(batches())
        callbacks = [
            Solve(8, data),
            Evaluation([TestNet(Stream(batches()), 2)], every=4),
        ]
        model.fit(
            for_fit(data),
            steps_per_epoch=4 * settings.get("iter_size", 1),
            epochs=2,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    return model.get_weights()


for solver, settings in SOLVERS:
    one = trained(solver, settings, contextlib.nullcontext())
    two = trained(solver, settings, parallel(["cpu:0", "cpu:1"]))
    difference = max(np.abs(a - b).max() for a, b in zip(one, two, strict=True))
    print(solver.__name__, *settings, f"difference {difference:.3g}")
