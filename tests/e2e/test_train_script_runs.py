"""An emitted train.py at work, beside a model.py and a data.py written for the test."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.codegen.data_script import DataFunction, DataScript
from caffe2k.codegen.formatting import format_python
from caffe2k.codegen.program import Call, LossTerm, MetricTerm, Program, keras_layer
from caffe2k.codegen.runtime_files import runtime_files
from caffe2k.codegen.train_script import train_script
from caffe2k.diagnostics import Diagnostics
from caffe2k.prototxt import read_solver, upgrade

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "tests/conformance", ROOT.parent / "shared/conformance")
SUITE = next((p for p in PLACES if (p / "solvers/sgd_iter_size").is_dir()), None)
pytestmark = pytest.mark.skipif(SUITE is None, reason="no conformance suite here")

MODEL = """
import keras


def build_model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="ip"),
        ]
    )


def losses():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def metrics():
    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
"""
DATA = """
import itertools

import h5py
import numpy as np


def batches(path, size):
    with h5py.File(path) as file:
        data = file["data"][:].transpose(0, 2, 3, 1)
        label = file["label"][:].astype("int32")
    for start in itertools.count(0, size):
        rows = np.arange(start, start + size) % len(label)
        yield data[rows], label[rows]


def train_data():
    return batches("train.h5", 10)


def test_data():
    return batches("test.h5", 20)
"""


def recorded(case):
    with np.load(SUITE / "solvers" / case / "trajectory.npz") as arrays:
        return dict(arrays)


def in_keras_order(arrays, iteration):
    """Layer name -> its parameters after `iteration` updates, as Keras has them."""
    conv, conv_bias, ip, ip_bias = (
        arrays[f"param/{iteration}/{blob}"]
        for blob in ("conv/0", "conv/1", "ip/0", "ip/1")
    )
    ip = ip.reshape(10, 4, 3, 3).transpose(2, 3, 1, 0).reshape(36, 10)
    return {"conv": [conv.transpose(2, 3, 1, 0), conv_bias], "ip": [ip, ip_bias]}


def write_weights(path, layers):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [b"kernel", b"bias"]
            group["kernel"], group["bias"] = arrays


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """train.py of solvers/sgd_iter_size in a folder that it runs in."""
    case = SUITE / "solvers" / "sgd_iter_size"
    diagnostics = Diagnostics()
    solver = upgrade(read_solver(case / "solver.prototxt", diagnostics), diagnostics)
    call = Call(keras_layer("Stub"))
    program = Program(
        "net",
        losses=[LossTerm("loss", "loss", "ip", "label", call)],
        metrics=[MetricTerm("accuracy", "accuracy", "ip", "label", call)],
    )
    functions = [DataFunction(n, "", (), "", "") for n in ("train_data", "test_data")]
    multipliers = {
        (layer, weight): (2.0, 0.0) if weight == "bias" else (1.0, 1.0)
        for layer in ("conv", "ip")
        for weight in ("kernel", "bias")
    }
    data = DataScript(tuple(functions))
    script = format_python(
        train_script(solver, "solver.prototxt", multipliers, program, data, diagnostics)
    )
    assert list(diagnostics) == []
    folder = tmp_path_factory.mktemp("project")
    (folder / "caffe_runtime").mkdir()
    files = {"train.py": script, "model.py": MODEL, "data.py": DATA}
    for name, text in {**files, **runtime_files([script])}.items():
        (folder / name).write_text(text)
    for name in ("train.h5", "test.h5"):
        shutil.copy(SUITE / "digits" / name, folder / name)
    write_weights(folder / "init.h5", in_keras_order(recorded("sgd_iter_size"), 0))
    return folder


def run(project, *arguments):
    done = subprocess.run(
        [sys.executable, "train.py", *arguments],
        cwd=project,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_prints_what_caffe_printed_and_ends_where_caffe_ended(project):
    arrays = recorded("sgd_iter_size")
    out = run(project, "--weights", "init.h5")

    assert "loaded                    conv, ip\n" in out
    lines = re.findall(r"Iteration (\d+), loss = (\S+), lr = (\S+)\n", out)
    assert [int(iteration) for iteration, _, _ in lines] == list(range(30))
    np.testing.assert_allclose(
        [float(loss) for _, loss, _ in lines], arrays["loss_log"], rtol=1e-5
    )
    assert {rate for _, _, rate in lines} == {"0.05"}

    tests = re.findall(
        r"Iteration (\d+), Testing net \(#0\)\n"
        r" +Test net output: (\w+) = (\S+)\n +Test net output: (\w+) = (\S+)\n",
        out,
    )
    assert [int(iteration) for iteration, *_ in tests] == [0, 10, 20, 30]
    for iteration, *outputs in tests:
        for name, value in zip(outputs[::2], outputs[1::2], strict=True):
            expected = float(arrays[f"test/{iteration}/{name}"])
            assert float(value) == pytest.approx(expected, rel=1e-5)
    assert out.index("Iteration 0, Testing") < out.index("Iteration 0, loss")
    assert out.index("snap_iter_10.keras") < out.index("Iteration 10, Testing")

    import keras

    for iteration in (10, 20, 30):
        model = keras.saving.load_model(
            project / f"snap_iter_{iteration}.keras", compile=False
        )
        for layer, weights in in_keras_order(arrays, iteration).items():
            for actual, expected in zip(
                model.get_layer(layer).get_weights(), weights, strict=True
            ):
                np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_evaluate_only(project):
    out = run(project, "--weights", "init.h5", "--evaluate", "--cpu")
    arrays = recorded("sgd_iter_size")
    assert "Iteration" not in out
    for name in ("accuracy", "loss"):
        value = float(re.search(rf"Test net output: {name} = (\S+)", out)[1])
        assert value == pytest.approx(float(arrays[f"test/0/{name}"]), rel=1e-5)


def test_a_seed_repeats_and_epochs_shorten(project):
    first, again, other = (
        run(project, "--epochs", "1", "--seed", seed) for seed in ("5", "5", "6")
    )
    losses = [
        re.findall(r"Iteration \d+, loss = \S+", o) for o in (first, again, other)
    ]
    assert len(losses[0]) == 10
    assert losses[0] == losses[1] != losses[2]
    assert "Iteration 10, Testing" in first
    assert "Iteration 20" not in first
