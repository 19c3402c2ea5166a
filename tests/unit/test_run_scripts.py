"""Shell scripts of the samples, and the scripts that a run of Caffe gets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ruff.__main__ import find_ruff_bin

from caffe2k.diagnostics import TranslationError
from caffe2k.shell.flags import CaffeRun, Given
from caffe2k.translation import Translation, translate

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
AUX_LOSS = ROOT / "tests/conformance/solvers/sgd_aux_loss/train_val.prototxt"
LENET = SAMPLES / "digits_lenet"
SCRIPTS = sorted(SAMPLES.glob("*/train.sh"))


def run(action: str, **flags: object) -> Translation:
    given = {name: Given(str(value)) for name, value in flags.items()}
    return translate(CaffeRun(action, given))


def check(translation: Translation, folder: Path) -> None:
    """Writes the files, and holds them against ruff."""
    translation.write(folder)
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [find_ruff_bin(), *command, "--no-cache", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_a_samples_script_is_its_solver(script: Path) -> None:
    ours = translate(script).scripts
    solver = translate(script.with_name("solver.prototxt")).scripts
    assert ours["model.py"] == solver["model.py"]
    assert ours["data.py"] == solver["data.py"]
    differing = [
        line
        for line in ours["train.py"].splitlines()
        if line not in solver["train.py"].splitlines()
    ]
    named = "--weights" in script.read_text(encoding="utf-8")
    assert bool(differing) == named


def test_weights_of_a_script_are_the_default(tmp_path: Path) -> None:
    translation = translate(SAMPLES / "digits_parity_finetune" / "train.sh")
    check(translation, tmp_path / "keras")
    text = (tmp_path / "keras" / "train.py").read_text(encoding="utf-8")
    assert (
        "    # train.sh:3\n"
        '    parser.set_defaults(weights=[Path(__file__).with_name("DigitsParity.h5")])\n'
    ) in text
    assert (
        "python train.py                               # from the weights Dig" in text
    )
    readme = translation.scripts["README.md"]
    assert "python train.py  # train from the weights DigitsParity.h5\n" in readme
    (coverage,) = translation.ported.values()
    assert [layer.caffe_layer for layer in coverage.missing] == ["ip2_parity"]


def test_several_files_of_weights(tmp_path: Path) -> None:
    names = [f"lenet_iter_{iteration}.caffemodel" for iteration in (200, 400)]
    weights = ",".join(str(LENET / name) for name in names)
    translation = run("train", solver=LENET / "solver.prototxt", weights=weights)
    assert list(translation.ported) == ["lenet_iter_200.h5", "lenet_iter_400.h5"]
    check(translation, tmp_path / "keras")


def test_flags_come_before_the_solvers_weights(tmp_path: Path) -> None:
    for name in ("train_val.prototxt", "digits_train_lmdb", "digits_test_lmdb"):
        (tmp_path / name).symlink_to(LENET / name)
    own, other = (LENET / f"lenet_iter_{n}.caffemodel" for n in (200, 400))
    text = (LENET / "solver.prototxt").read_text(encoding="utf-8")
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f'{text}\nweights: "{own}"\n', encoding="utf-8")
    assert run("train", solver=solver).inputs == (own,)
    assert run("train", solver=solver, weights=other).inputs == (other,)
    snapshot = LENET / "lenet_iter_200.solverstate"
    assert run("train", solver=solver, snapshot=snapshot).inputs == (snapshot,)


def test_a_snapshot_is_gone_on_from(tmp_path: Path) -> None:
    solver, snapshot = LENET / "solver.prototxt", LENET / "lenet_iter_200.solverstate"
    translation = run("train", solver=solver, snapshot=snapshot)
    check(translation, tmp_path / "keras")
    text = (tmp_path / "keras" / "train.py").read_text(encoding="utf-8")
    assert 'resume=Path(__file__).with_name("lenet_iter_200.h5")' in text
    assert (tmp_path / "keras" / "lenet_iter_200.h5").exists()


@pytest.mark.parametrize("net", [LENET / "train_val.prototxt", AUX_LOSS])
def test_evaluate(net: Path, tmp_path: Path) -> None:
    """It comes with a net that has test data, also without a run."""
    if not net.exists():
        pytest.skip("the case is not here")
    translation = translate(net)
    text = translation.scripts["evaluate.py"]
    assert "required=True" in text
    assert "ITERATIONS = 50\n" in text
    weighted = net == AUX_LOSS
    assert ("loss_weights=LOSS_WEIGHTS" in text) == weighted
    check(translation, tmp_path / "keras")


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("model", ["deploy.prototxt", "train_val.prototxt"])
def test_benchmark(model: str, phase: str, tmp_path: Path) -> None:
    translation = run("time", model=LENET / model, phase=phase, iterations=7)
    text = translation.scripts["benchmark.py"]
    assert "ITERATIONS = 7  # caffe time\n" in text
    assert f"training={phase == 'TRAIN'})" in text
    if model == "deploy.prototxt":
        assert "np.zeros((1, 28, 28, 1), " in text
    else:
        assert f"return next({phase.lower()}_data())" in text
    check(translation, tmp_path / "keras")


def test_a_test_without_anything_to_print() -> None:
    weights = LENET / "lenet_iter_400.caffemodel"
    with pytest.raises(TranslationError, match="nothing-to-test"):
        run("test", model=LENET / "deploy.prototxt", weights=weights)
