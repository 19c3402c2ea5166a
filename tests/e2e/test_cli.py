"""The command line: exit codes, what goes where, and what is written or left alone."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner, Result

from caffe2k import __version__
from caffe2k.cli import main
from caffe2k.codegen import output
from caffe2k.diagnostics import TranslationError
from caffe2k.ops import registered_ops
from caffe2k.schema.caffe_pb2 import BlobProto, BlobShape, LayerParameter, NetParameter

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
LENET = SAMPLES / "digits_lenet"
CAFFEMODEL = LENET / "lenet_iter_400.caffemodel"

NET = """\
name: "Small"
layer {
  name: "data"
  type: "Input"
  top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } }
}
layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }
"""

WITH_DATA = """\
layer {
  name: "data"
  type: "Data"
  top: "data"
  top: "label"
  data_param { source: "train_lmdb" batch_size: 4 backend: LMDB }
}
layer {
  name: "ip"
  type: "InnerProduct"
  bottom: "data"
  top: "ip"
  inner_product_param { num_output: 5 }
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" }
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with a small net in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("net.prototxt").write_text(NET)
    Path("with_data.prototxt").write_text(WITH_DATA)
    return folder


def caffe2k(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_without_a_command_it_shows_its_help() -> None:
    result = caffe2k("--help")
    assert result.exit_code == 0
    for command in ("translate", "weights", "upgrade", "layers"):
        assert f"\n  {command} " in result.stdout
    assert caffe2k().exit_code == 2


@pytest.mark.parametrize("command", ["translate", "weights", "upgrade"])
def test_help_has_examples(command: str) -> None:
    result = caffe2k(command, "-h")
    assert result.exit_code == 0
    assert f"\n    caffe2k {command} " in result.stdout


def test_version() -> None:
    assert caffe2k("--version").stdout == f"caffe2k, version {__version__}\n"


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "caffe2k", "translate", "net.prototxt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == caffe2k("translate", "net.prototxt").stdout


def test_the_module_fails_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "caffe2k", "translate", "no.prototxt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == caffe2k("translate", "no.prototxt").stderr


def test_a_list_of_commands_says_what_each_does() -> None:
    for arguments in (["--help"], ["data", "--help"]):
        assert "..." not in caffe2k(*arguments).stdout.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing"], "No such command"),
        (["trian"], "did you mean `train`?"),
        (["train", "-gpuu=1"], "No such option '--gpuu'"),
        (["train", "--solver=solver.prototxt", "more"], "unexpected extra argument"),
        (["translate"], "Missing argument"),
        (["translate", "net.prototxt", "--nothing"], "No such option"),
        (["translate", "net.prototxt", "--phase", "train"], "'train' is not one of"),
        (
            ["translate", "net.prototxt", "--data-format", "NHWC"],
            "'NHWC' is not one of",
        ),
        (["translate", "net.prototxt", "--allow-partial"], "--weights"),
        (["translate", "net.prototxt", "--force"], "-o"),
        (["translate", "net.prototxt", "--weights", "net.caffemodel"], "-o"),
        (["weights", "net.prototxt", "x.caffemodel"], "Missing option"),
        (["upgrade"], "Missing argument"),
        (["layers", "net.prototxt"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], complaint: str, here: Path) -> None:
    before = names(here)
    result = caffe2k(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: ")
    assert complaint in result.stderr
    assert names(here) == before


@pytest.mark.parametrize(
    "text",
    ["data", "data=", "=1,3", "data=1,x", "data=1,,3", "data=0,3", "data=-1,3", "1,3"],
)
def test_shapes_that_are_none(text: str) -> None:
    result = caffe2k("translate", "with_data.prototxt", "--input-shape", text)
    assert result.exit_code == 2
    assert f"{text!r} is not of the form data=1,3,227,227" in result.stderr


def test_a_shape_stands_in_for_data() -> None:
    assert caffe2k("translate", "with_data.prototxt").exit_code == 1
    given = caffe2k("translate", "with_data.prototxt", "--input-shape", "data=4,3,6,7")
    assert given.exit_code == 0
    assert 'keras.Input((6, 7, 3), name="data")' in given.stdout
    flat = caffe2k(
        "translate",
        "with_data.prototxt",
        *("--input-shape", "data=4,9"),
        *("--input-shape", "label=4"),
    )
    assert 'keras.Input((9,), name="data")' in flat.stdout


def test_without_an_output_model_py_alone_is_printed(here: Path) -> None:
    before = names(here)
    result = caffe2k("translate", "net.prototxt")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith('"""Small, from net.prototxt."""\n')
    compile(result.stdout, "model.py", "exec")
    assert names(here) == before


def test_warnings_go_to_stderr() -> None:
    arguments = ("translate", "with_data.prototxt", "--input-shape", "data=4,3")
    Path("with_data.prototxt").write_text(
        WITH_DATA.replace(
            "data_param", 'transform_param { mean_file: "mean" } data_param'
        )
    )
    result = caffe2k(*arguments)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning[mean-missing]: ")
    assert result.stdout.startswith('"""')
    assert "warning" not in result.stdout


def test_strict_makes_them_errors(here: Path) -> None:
    Path("net.prototxt").write_text(f'input: "mask"\n{NET}')
    assert caffe2k("translate", "net.prototxt").exit_code == 0
    strict = caffe2k("translate", "net.prototxt", "--strict", "-o", "keras")
    assert (strict.exit_code, strict.stdout) == (1, "")
    assert strict.stderr.startswith("error[input-without-shape]: ")
    assert strict.stderr.endswith("\n1 error; nothing was written\n")
    assert names(here) == ["net.prototxt", "with_data.prototxt"]


def test_phases() -> None:
    Path("net.prototxt").write_text(
        NET
        + 'layer { name: "t" type: "TanH" bottom: "relu" top: "t" '
        + "include { phase: TRAIN } }"
    )
    assert "tanh" not in caffe2k("translate", "net.prototxt").stdout
    train = caffe2k("translate", "net.prototxt", "--phase", "TRAIN").stdout
    assert 'layers.Activation("tanh", name="t")' in train
    test = caffe2k("translate", "net.prototxt", "--phase", "TEST").stdout
    assert "tanh" not in test


def test_data_formats() -> None:
    first = caffe2k("translate", "net.prototxt", "--data-format", "channels_first")
    assert 'keras.Input((3, 8, 8), name="data")' in first.stdout
    last = caffe2k("translate", "net.prototxt", "--data-format", "channels_last")
    assert last.stdout == caffe2k("translate", "net.prototxt").stdout


def test_a_solver_finds_its_net(here: Path) -> None:
    result = caffe2k("translate", LENET / "solver.prototxt", "-o", "keras")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "keras: README.md, caffe_runtime/, data.py, model.py, ruff.toml, train.py\n"
    )
    assert names(here / "keras") == [
        "README.md",
        "caffe_runtime",
        "data.py",
        "model.py",
        "ruff.toml",
        "train.py",
    ]
    assert names(here) == ["keras", "net.prototxt", "with_data.prototxt"]


def test_net_and_solver_are_the_same_project(here: Path) -> None:
    net, solver = LENET / "train_val.prototxt", LENET / "solver.prototxt"
    assert caffe2k("translate", solver, "-o", "a").exit_code == 0
    assert caffe2k("translate", net, "--solver", solver, "-o", "b").exit_code == 0
    for path in (here / "a").rglob("*"):
        if path.is_file():
            other = here / "b" / path.relative_to(here / "a")
            assert path.read_bytes() == other.read_bytes()


def test_an_existing_folder_is_refused_and_kept(here: Path) -> None:
    folder = here / "keras"
    folder.mkdir()
    (folder / "model.py").write_text("mine")
    result = caffe2k("translate", "net.prototxt", "-o", "keras")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error[output-exists]: `keras` exists\n")
    assert names(folder) == ["model.py"]
    assert (folder / "model.py").read_text() == "mine"


def test_force_replaces_what_it_writes_and_keeps_the_rest(here: Path) -> None:
    folder = here / "keras"
    (folder / "caffe_runtime").mkdir(parents=True)
    (folder / "model.py").write_text("old")
    (folder / "lenet_iter_100.keras").write_text("snapshot")
    (folder / "caffe_runtime" / "mine.py").write_text("mine")
    solver = LENET / "solver.prototxt"
    assert caffe2k("translate", solver, "-o", "keras", "--force").exit_code == 0
    assert "build_model" in (folder / "model.py").read_text()
    assert (folder / "lenet_iter_100.keras").read_text() == "snapshot"
    assert (folder / "caffe_runtime" / "mine.py").read_text() == "mine"
    assert (folder / "caffe_runtime" / "losses.py").exists()
    assert names(here) == ["keras", "net.prototxt", "with_data.prototxt"]


def test_force_may_make_a_new_folder(here: Path) -> None:
    assert caffe2k("translate", "net.prototxt", "-o", "a/b", "--force").exit_code == 0
    assert "model.py" in names(here / "a" / "b")
    assert names(here / "a") == ["b"]


def test_the_output_is_as_readable_as_other_folders(here: Path) -> None:
    before = os.umask(0o022)
    try:
        caffe2k("translate", "net.prototxt", "-o", "keras")
    finally:
        os.umask(before)
    assert (here / "keras").stat().st_mode & 0o777 == 0o755
    assert (here / "keras" / "model.py").stat().st_mode & 0o777 == 0o644


def test_an_error_writes_nothing(here: Path) -> None:
    Path("net.prototxt").write_text(NET.replace("ReLU", "Nothing"))
    result = caffe2k("translate", "net.prototxt", "-o", "a/keras")
    assert (result.exit_code, result.stdout) == (1, "")
    assert names(here) == ["net.prototxt", "with_data.prototxt"]


@pytest.mark.parametrize("force", [False, True])
def test_a_writer_that_fails_leaves_nothing(here: Path, force: bool) -> None:
    def full(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    folder = here / "a" / "keras"
    if force:
        folder.mkdir(parents=True)
        (folder / "model.py").write_text("old")
    files = {"model.py": "new = 1\n", "weights.h5": full}
    with pytest.raises(TranslationError, match="No space left on device"):
        output.write_folder(folder, files, force=force)
    assert names(here)[1:] == ["net.prototxt", "with_data.prototxt"][not force :]
    if force:
        assert names(folder.parent) == ["keras"]
        assert {p.name: p.read_text() for p in folder.iterdir()} == {"model.py": "old"}


def test_a_bug_in_a_writer_leaves_nothing_either(here: Path) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        output.write_folder(here / "keras", {"a.py": "a = 1\n", "b": broken})
    assert names(here) == ["net.prototxt", "with_data.prototxt"]


def test_translate_with_weights(here: Path) -> None:
    arguments = ("--weights", CAFFEMODEL, "-o", "keras")
    result = caffe2k("translate", LENET / "solver.prototxt", *arguments)
    assert result.exit_code == 0
    assert "DigitsLeNet.h5" in result.stdout
    table = [line.split() for line in result.stderr.splitlines()]
    assert table[0] == ["layer", "Keras", "layer", "shapes"]
    assert [(row[0], row[-1]) for row in table[1:-1]] == [
        ("conv1", "ported"),
        ("conv2", "ported"),
        ("ip1", "ported"),
        ("ip2", "ported"),
    ]
    with h5py.File(here / "keras" / "DigitsLeNet.h5") as file:
        assert file["conv1/kernel"].shape == (5, 5, 1, 20)


def test_weights_that_do_not_fit_write_nothing(here: Path) -> None:
    parity = SAMPLES / "digits_parity_finetune" / "solver.prototxt"
    arguments = ("translate", parity, "--weights", CAFFEMODEL, "-o", "keras")
    refused = caffe2k(*arguments)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "error[weights-missing]" in refused.stderr
    assert "error[weights-unused]" in refused.stderr
    assert names(here) == ["net.prototxt", "with_data.prototxt"]
    assert caffe2k(*arguments, "--allow-partial").exit_code == 0
    assert "DigitsParity.h5" in names(here / "keras")


def test_weights_alone(here: Path) -> None:
    result = caffe2k("weights", LENET / "deploy.prototxt", CAFFEMODEL, "-o", "lenet.h5")
    assert (result.exit_code, result.stdout) == (0, "")
    *table, counts = result.stderr.splitlines()
    assert [line.split()[-1] for line in table[1:]] == ["ported"] * 4
    assert counts == "4 ported, 0 missing, 0 unused, 0 mismatched"
    with h5py.File(here / "lenet.h5") as file:
        assert list(file.attrs["layer_names"]) == [b"conv1", b"conv2", b"ip1", b"ip2"]
    assert names(here) == ["lenet.h5", "net.prototxt", "with_data.prototxt"]


def test_part_of_the_weights(here: Path) -> None:
    net = SAMPLES / "digits_parity_finetune" / "train_val.prototxt"
    arguments = ("weights", net, CAFFEMODEL, "-o", "parity.h5")
    refused = caffe2k(*arguments)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "`ip2`" in refused.stderr
    assert names(here) == ["net.prototxt", "with_data.prototxt"]
    partial = caffe2k(*arguments, "--allow-partial")
    assert partial.exit_code == 0
    words = [line.split()[-1] for line in partial.stderr.splitlines()[1:-1]]
    assert words == ["ported", "ported", "ported", "missing", "unused"]


def test_layer_names_in_the_table_of_weights_are_text() -> None:
    name = "ip\x1b[31m\a[bold]"
    blobs = [
        BlobProto(shape=BlobShape(dim=shape), data=[0.5] * math.prod(shape))
        for shape in ((5, 3), (5,))
    ]
    model = NetParameter(layer=[LayerParameter(name=name, blobs=blobs)])
    Path("net.caffemodel").write_bytes(model.SerializeToString())
    Path("net.prototxt").write_text(
        'input: "data" input_shape { dim: 1 dim: 3 } layer { type: "InnerProduct" '
        r'name: "ip\033[31m\007[bold]" bottom: "data" top: "ip" '
        "inner_product_param { num_output: 5 } }"
    )
    result = caffe2k("weights", "net.prototxt", "net.caffemodel", "-o", "net.h5")
    assert result.exit_code == 0
    assert all(c.isprintable() or c == "\n" for c in result.stderr)
    assert "[bold]" in result.stderr


def test_weights_replace_a_file_only_with_force(here: Path) -> None:
    deploy = LENET / "deploy.prototxt"
    Path("lenet.h5").write_text("mine")
    refused = caffe2k("weights", deploy, CAFFEMODEL, "-o", "lenet.h5")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error[output-exists]: ")
    assert Path("lenet.h5").read_text() == "mine"
    forced = caffe2k("weights", deploy, CAFFEMODEL, "-o", "lenet.h5", "--force")
    assert forced.exit_code == 0
    assert h5py.is_hdf5("lenet.h5")
    assert names(here) == ["lenet.h5", "net.prototxt", "with_data.prototxt"]


def test_upgrade_of_a_net() -> None:
    Path("old.prototxt").write_text(
        '# an old net\ninput: "data"\ninput_dim: [1, 3, 8, 8]\n'
        'layers { name: "r" type: RELU bottom: "data" top: "r" }\n'
    )
    result = caffe2k("upgrade", "old.prototxt")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("# an old net\nlayer {\n")
    assert 'type: "ReLU"' in result.stdout
    Path("new.prototxt").write_text(result.stdout)
    assert caffe2k("upgrade", "new.prototxt").stdout == result.stdout
    new, old = (
        caffe2k("translate", f"{age}.prototxt").stdout for age in ("new", "old")
    )
    assert new.replace("new.prototxt", "old.prototxt") == old


def test_upgrade_of_a_solver() -> None:
    Path("solver.prototxt").write_text('net: "n"  # which\nsolver_type: ADAM\n')
    result = caffe2k("upgrade", "solver.prototxt")
    assert result.exit_code == 0
    assert result.stdout == 'net: "n"  # which\ntype: "Adam"\n'


def test_upgrade_of_nothing() -> None:
    Path("net.prototxt").write_text(NET + "layers { }")
    result = caffe2k("upgrade", "net.prototxt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error[mixed-format]: ")


def test_layers() -> None:
    result = caffe2k("layers")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = dict(re.split("  +", line) for line in result.stdout.splitlines())
    assert list(rows) == sorted(registered_ops())
    assert rows["InnerProduct"] == "Flatten and Dense"
