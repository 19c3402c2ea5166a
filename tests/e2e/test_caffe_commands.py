"""`caffe2k train`, `test` and `time`: Caffe's flags in, the emitted scripts run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from caffe2k.cli import main, running

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
LENET = SAMPLES / "digits_lenet"

NET = """\
name: "Small"
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 } }
layer { name: "extra" type: "InnerProduct" bottom: "data" top: "extra"
  include { phase: TRAIN min_level: 2 stage: "big" }
  inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = 'net: "net.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 10\n'


class Runs:
    """Takes the place of running a script: remembers what would be run."""

    def __init__(self) -> None:
        self.script = Path()
        self.arguments: list[str] = []
        self.environment: Mapping[str, str] = {}
        self.effects: Mapping[str, str] = {}
        self.code = 0

    def __call__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        effects: Mapping[str, str],
    ) -> int:
        self.script, *_ = map(Path, command)
        self.arguments = list(command[1:])
        self.environment, self.effects = environment, effects
        return self.code


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(running, "_run", found)
    return found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a small project, and a cache of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "net.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(
    "flags",
    [
        ["--solver=solver.prototxt"],
        ["--solver", "solver.prototxt"],
        ["-solver=solver.prototxt"],
        ["-solver", "solver.prototxt"],
        [
            "-solver",
            "solver.prototxt",
            "-logtostderr",
            "--noalsologtostderr",
            "-v",
            "1",
        ],
        ["--log_dir=logs", "--log_dir", "logs", "--solver=solver.prototxt"],
    ],
)
def test_flags_in_either_form(flags: list[str], runs: Runs) -> None:
    result = run("train", *flags)
    assert (result.exit_code, result.stdout) == (0, "")
    assert runs.script.name == "train.py"
    assert runs.arguments == ["--log", "caffe"]


def test_the_folder_is_kept_in_the_cache(runs: Runs, tmp_path: Path) -> None:
    run("train", "--solver=solver.prototxt")
    first, made = runs.script, runs.script.stat().st_mtime_ns
    assert first.parent.parent == tmp_path / "cache" / "caffe2k"
    run("train", "--solver=solver.prototxt")
    assert runs.script == first
    assert first.stat().st_mtime_ns == made
    Path("solver.prototxt").write_text(SOLVER.replace("0.1", "0.2"))
    run("train", "--solver=solver.prototxt")
    assert runs.script != first
    assert "BASE_LR = 0.2" in runs.script.read_text()


def test_a_cache_that_can_not_be_written(
    runs: Runs, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "net.prototxt"))
    result = run("train", "--solver=solver.prototxt")
    assert result.exit_code == 1
    assert "error[output-unwritable]" in result.stderr
    assert "another place with -o" in result.stderr


def test_the_folder_is_another_one_for_other_weights(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(LENET)
    folders = set()
    for iteration in (200, 400):
        weights = f"--weights=lenet_iter_{iteration}.caffemodel"
        run("test", "--model=train_val.prototxt", weights, "--iterations=3")
        folders.add(runs.script.parent)
    assert len(folders) == 2
    text = runs.script.read_text()
    assert "ITERATIONS = 3  # caffe test\n" in text
    assert 'weights=[Path(__file__).with_name("DigitsLeNet.h5")]' in text


def test_a_folder_of_ones_own(runs: Runs) -> None:
    arguments = ("train", "--solver=solver.prototxt", "-o", "keras")
    assert run(*arguments).exit_code == 0
    assert runs.script == Path("keras/train.py")
    again = run(*arguments)
    assert again.exit_code == 1
    assert "error[output-exists]" in again.stderr
    assert run(*arguments, "--force").exit_code == 0
    assert run("train", "--solver=solver.prototxt", "--force").exit_code == 2


def test_the_exit_code_and_the_arguments_are_passed_on(runs: Runs) -> None:
    runs.code = 3
    result = run(
        "train", "--solver=solver.prototxt", "--", "--epochs", "1", "--log=bar"
    )
    assert result.exit_code == 3
    assert runs.arguments == ["--epochs", "1", "--log=bar"]


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--weights=a.keras,b.keras", ["--weights", "a.keras", "b.keras"]),
        ("--snapshot=a.keras", ["--resume", "a.keras"]),
    ],
)
def test_what_was_trained_in_keras_goes_on(
    flag: str, expected: list[str], runs: Runs, here: Path
) -> None:
    for name in ("a.keras", "b.keras"):
        (here / name).touch()
    result = run("train", "--solver=solver.prototxt", flag, "--", "--epochs", "1")
    assert result.exit_code == 0
    assert runs.arguments == ["--log", "caffe", *expected, "--epochs", "1"]
    assert (
        "missing-caffe-file"
        in run("train", "--solver=solver.prototxt", "--snapshot=c.keras").stderr
    )


def test_data_is_looked_up_where_the_project_stands(
    runs: Runs, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.parent)
    monkeypatch.delenv("CAFFE_DATA_ROOT", raising=False)
    run("train", "--solver=here/solver.prototxt")
    assert runs.environment["CAFFE_DATA_ROOT"] == str(here)
    monkeypatch.setenv("CAFFE_DATA_ROOT", "elsewhere")
    run("train", "--solver=here/solver.prototxt")
    assert runs.environment["CAFFE_DATA_ROOT"] == "elsewhere"


def test_signals_have_the_effects_that_were_chosen(runs: Runs) -> None:
    run("train", "--solver=solver.prototxt")
    assert runs.effects["SIGINT"] == "SIGINT"
    assert runs.effects["SIGHUP"] == "SIGHUP"
    effects = ("--sigint_effect=snapshot", "--sighup_effect=none")
    run("train", "--solver=solver.prototxt", *effects)
    assert runs.effects["SIGINT"] == "SIGHUP"
    assert runs.effects["SIGHUP"] == ""


def test_level_and_stage_choose_layers(runs: Runs) -> None:
    def model() -> str:
        return (runs.script.parent / "model.py").read_text()

    run("train", "--solver=solver.prototxt")
    assert '"extra"' not in model()
    run("train", "--solver=solver.prototxt", "--level=2", "--stage=small,big")
    assert '"extra"' in model()
    run("time", "--model=net.prototxt", "--level=2", "--stage=big")
    assert '"extra"' in model()
    run("time", "--model=net.prototxt", "--phase=TEST", "--level=2", "--stage=big")
    assert '"extra"' not in model()


def test_the_gpus_are_the_scripts_default(runs: Runs) -> None:
    run("train", "--solver=solver.prototxt", "--gpu=0")
    assert 'parser.set_defaults(gpus="0")' in runs.script.read_text()
    run("time", "--model=net.prototxt", "--gpu=1,2")
    assert 'parser.set_defaults(gpus="1")' in runs.script.read_text()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train"], "caffe-flag-missing"),
        (["train", "--solver=missing.prototxt"], "missing-caffe-file"),
        (["train", "--solver=net.prototxt"], "wrong-file"),
        (["train", "--solver=solver.prototxt", "--gpu=x"], "caffe-flag-value"),
        (["test", "--model=net.prototxt"], "caffe-flag-missing"),
        (["time", "--model=net.prototxt", "--phase=x"], "caffe-flag-value"),
        (["time", "--model=net.prototxt", "--iterations=0"], "caffe-flag-value"),
    ],
)
def test_what_caffe_refuses(arguments: list[str], code: str, runs: Runs) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert f"error[{code}]" in result.stderr
    assert runs.script == Path()


def test_an_unknown_flag_is_wrong_usage(runs: Runs) -> None:
    result = run("train", "--solver=solver.prototxt", "--gpuu=1")
    assert result.exit_code == 2
    assert "--gpuu" in result.stderr


def test_the_exit_code_of_a_script(tmp_path: Path) -> None:
    script = tmp_path / "ends.py"
    script.write_text("import sys; sys.exit(int(sys.argv[1]))")
    assert running._run([str(script), "3"], os.environ, {}) == 3
    script.write_text("import os; os.kill(os.getpid(), 15)")
    assert running._run([str(script)], os.environ, {}) == 128 + 15


SIGNALS_ITS_PARENT = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, lambda *_: sys.exit(5))
os.kill(os.getppid(), signal.SIGTERM)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(10)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_signal_reaches_the_script_as_another_one(tmp_path: Path) -> None:
    script = tmp_path / "signals.py"
    script.write_text(SIGNALS_ITS_PARENT)
    former = signal.getsignal(signal.SIGINT)
    effects = {"SIGINT": "SIGHUP", "SIGTERM": ""}
    assert running._run([str(script)], os.environ, effects) == 5
    assert signal.getsignal(signal.SIGINT) is former


def caffe2k(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "caffe2k", *arguments],
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_testing_prints_what_caffe_measured() -> None:
    flags = ("-model=train_val.prototxt", "-weights", "lenet_iter_400.caffemodel")
    done = caffe2k("test", *flags, "-iterations", "3", folder=LENET)
    assert done.returncode == 0, done.stderr
    batches = re.findall(
        r"^Batch (\d), (accuracy|loss) = \S+$", done.stdout, re.MULTILINE
    )
    assert len(batches) == 6
    logged = (LENET / "caffe.log").read_text(encoding="utf-8")
    for name in ("accuracy", "loss"):
        measured = re.findall(rf"Test net output[^:]*: {name} = (\S+)", logged)[-1]
        assert re.search(rf"^{name} = {measured}\b", done.stdout, re.MULTILINE)
    (loss,) = re.findall(r"^Loss: (\S+)$", done.stdout, re.MULTILINE)
    assert f"\nloss = {loss} (* 1 = {loss} loss)\n" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("model", ["deploy.prototxt", "train_val.prototxt"])
def test_timing_prints_milliseconds(model: str) -> None:
    done = caffe2k("time", f"--model={model}", "--iterations=2", folder=LENET)
    assert done.returncode == 0, done.stderr
    layers = re.findall(r"^ *(\w+)\tforward: \S+ ms\.$", done.stdout, re.MULTILINE)
    assert {"conv1", "pool1", "conv2", "pool2", "ip1", "ip2"} <= set(layers)
    for line in ("Forward pass", "Backward pass", "Forward-Backward"):
        assert re.search(rf"^Average {line}: \S+ ms\.$", done.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_training_answers_signals_as_caffe_does(tmp_path: Path) -> None:
    folder = tmp_path / "lenet"
    shutil.copytree(LENET, folder)
    solver = folder / "solver.prototxt"
    text = re.sub(r"max_iter: \d+", "max_iter: 1000000", solver.read_text())
    solver.write_text(re.sub(r"(?m)^snapshot: \d+", "", text))
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "caffe2k", "train", "-solver", "solver.prototxt"],
            cwd=folder,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for("Iteration 20 ", tmp_path / "log", process)
        process.send_signal(signal.SIGHUP)
        wait_for("Snapshotting", tmp_path / "log", process)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
    printed = (tmp_path / "log").read_text()
    assert printed.count("Snapshotting to lenet_iter_") == 2
    assert "Optimization stopped early." in printed
    assert len(list(folder.glob("lenet_iter_*.keras"))) == 2


def wait_for(text: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if text in log.read_text():
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(f"{text!r} did not come:\n{log.read_text()}")
