"""Training on chosen devices, in processes of their own: backends choose at their start."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

ON_THE_CPU = """
import keras
import numpy as np
from caffe2k.runtime.devices import device_scope

with device_scope(cpu=True):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    before = model.get_weights()[0].copy()
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    print("moved", np.abs(model.get_weights()[0] - before).max())
"""


def run_on(backend, *command):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, *command],
        cwd=HERE.parents[1],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": str(HERE.parents[1]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_train_as_one(backend):
    printed = run_on(backend, str(HERE / "two_devices.py"))
    differences = re.findall(r"difference (\S+)", printed)
    assert len(differences) == 2
    assert all(float(difference) < 1e-6 for difference in differences)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_cpu_trains(backend):
    (moved,) = re.findall(r"moved (\S+)", run_on(backend, "-c", ON_THE_CPU))
    assert float(moved) > 1e-3
