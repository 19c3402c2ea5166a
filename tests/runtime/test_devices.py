"""Training on chosen devices, in processes of their own: backends choose at their start."""

import importlib.util
import os
import platform
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
    assert len(differences) == 7
    assert all(float(difference) < 1e-6 for difference in differences)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_cpu_trains(backend):
    (moved,) = re.findall(r"moved (\S+)", run_on(backend, "-c", ON_THE_CPU))
    assert float(moved) > 1e-3


BUFFERS = """
import resource
import threading
import numpy as np
from caffe2k.runtime.devices import device_scope

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def steps(count):
    for _ in range(count):
        _ = [np.ones(2**20, "float32") for _ in range(6)]

def train():
    steps(3)
    before = faults()
    steps(10)
    print("pages", faults() - before)

with device_scope(cpu=True):
    worker = threading.Thread(target=train)
    worker.start()
    worker.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_buffers_of_a_step_are_used_again_in_the_next():
    (pages,) = re.findall(r"pages (\d+)", run_on("tensorflow", "-c", BUFFERS))
    assert int(pages) < 1024
