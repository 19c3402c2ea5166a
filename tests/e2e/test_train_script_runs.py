"""An emitted train.py at work, as a process with its flags."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from caffe2k.translation import translate
from tests.e2e.processes import python

pytestmark = pytest.mark.slow

CASE = Path(__file__).resolve().parents[1] / "conformance/solvers/sgd_iter_size"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The case, translated with its initial weights."""
    folder = tmp_path_factory.mktemp("project") / "keras"
    weights = CASE / "init.caffemodel"
    translate(CASE / "solver.prototxt", weights=weights).write(folder)
    return folder


def run(project: Path, *arguments: str, fails: bool = False) -> str:
    done = python(
        *("train.py", *arguments),
        folder=project,
        data=CASE,
        fails=fails,
        PYTHONDONTWRITEBYTECODE="1",
    )
    return done.stderr if fails else done.stdout


def recorded() -> dict[str, np.ndarray]:
    with np.load(CASE / "trajectory.npz") as arrays:
        return dict(arrays)


def test_it_prints_what_caffe_printed(project: Path) -> None:
    """Read as Caffe's own tools/extra/parse_log.py reads it."""
    arrays = recorded()
    out = run(project, "--weights", "digits_cnn.h5", "--log", "caffe")
    assert "loaded                    conv, ip\n" in out
    losses = re.findall(r"solver.cpp:239\] Iteration (\d+) .*loss = (\S+)\n", out)
    assert [int(iteration) for iteration, _ in losses] == list(range(30))
    printed = [float(loss) for _, loss in losses]
    np.testing.assert_allclose(printed, arrays["loss_log"], rtol=1e-5)
    rates = re.findall(r"sgd_solver.cpp:112\] Iteration \d+, lr = (\S+)\n", out)
    assert rates == ["0.05"] * 30
    tests = re.split(r"Iteration (\d+), Testing net \(#0\)", out)[1:]
    assert [int(iteration) for iteration in tests[::2]] == [0, 10, 20, 30]
    for iteration, text in zip(tests[::2], tests[1::2], strict=True):
        found = re.findall(r"Test net output #(\d+): (\S+) = ([\.\deE+-]+)", text)
        assert [(n, name) for n, name, _ in found] == [("0", "accuracy"), ("1", "loss")]
        for _, name, value in found:
            expected = float(arrays[f"test/{iteration}/{name}"])
            assert float(value) == pytest.approx(expected, rel=1e-5)
    assert all(
        re.match(r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+\.cpp:\d+\] ", line)
        for line in out.partition("Solving")[2].splitlines()[1:]
    )
    snapshots = sorted(path.name for path in project.glob("*.keras"))
    assert snapshots == [f"snap_iter_{n}.keras" for n in (10, 20, 30)]


def test_evaluate_only(project: Path) -> None:
    out = run(
        project, "--weights", "digits_cnn.h5,digits_cnn.h5", "--evaluate", "--cpu"
    )
    assert "Iteration" not in out
    for name in ("accuracy", "loss"):
        found = re.search(rf"Test net output #\d: {name} = (\S+)", out)
        assert found is not None
        expected = float(recorded()[f"test/0/{name}"])
        assert float(found[1]) == pytest.approx(expected, rel=1e-5)


def test_a_seed_repeats_and_epochs_shorten(project: Path) -> None:
    first, again, other = (
        run(project, "--epochs", "1", "--seed", seed) for seed in ("5", "5", "6")
    )
    losses = [re.findall(r"loss = \S+", out) for out in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]
    assert "Iteration 10, Testing" in first
    assert "Iteration 20" not in first


def test_a_caffemodel_is_no_file_of_weights(project: Path) -> None:
    error = run(project, "--weights", str(CASE / "init.caffemodel"), fails=True)
    assert "`caffe2k weights` makes one of a .caffemodel" in error
