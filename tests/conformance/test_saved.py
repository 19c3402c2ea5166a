"""Emitted models are saved and loaded, also in a process that knows model.py alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffe2k.ir.net import Blob, Phase
from caffe2k.translation import translate
from tests.conformance.emitted import EmittedNet, translated
from tests.conformance.restored import differences
from tests.conformance.suite import OWN, load

SAMPLES = sorted((OWN.parents[1] / "samples").glob("*/solver.prototxt"))

SCRIPT = """
import keras
import numpy as np
import model

loaded = keras.models.load_model("saved.keras")
inputs = dict(np.load("inputs.npz"))
np.savez("outputs.npz", **{"out": loaded(inputs, training=False)})
"""


@pytest.mark.parametrize("name", ["lstm_static", "batchnorm_scale_test"])
def test_loads_elsewhere(name: str, tmp_path: Path) -> None:
    case = load(OWN / "layers" / name)
    folder = tmp_path / "out"
    net = EmittedNet(translated(case.net, case.weights, "TEST", folder), folder, "TEST")
    net.model.save(folder / "saved.keras")
    inputs = {k: net.to_keras(v) for k, v in case.of("in").items()}
    np.savez(folder / "inputs.npz", **inputs)
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=folder, check=True)
    expected = net.model(net.model_inputs(inputs), training=False)
    with np.load(folder / "outputs.npz") as found:
        np.testing.assert_array_equal(found["out"], np.asarray(expected))


@pytest.mark.slow
@pytest.mark.parametrize("solver", SAMPLES, ids=lambda path: path.parent.name)
def test_samples_survive(solver: Path, tmp_path: Path) -> None:
    translation = translate(solver)
    translation.write(tmp_path / "out")
    net = EmittedNet(translation, tmp_path / "out", "TEST")
    shapes = translation.net.phases[Phase.TEST].shapes
    draw = np.random.default_rng(0)
    # 0 and 1 are grey levels, words, and whether a sequence goes on.
    inputs = {
        i.blob: draw.integers(0, 2, shapes[Blob(i.blob)]).astype("float32")
        for i in net.program.inputs
    }
    assert differences(net, inputs, tmp_path / "out") == []
