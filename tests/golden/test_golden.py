"""Emitted trees, byte for byte, and clean by ruff's and Python's own judgement."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ruff.__main__ import find_ruff_bin

from caffe2k.resources import runtime_module
from tests.golden.trees import PROJECTS, TREES, scripts, translated


@pytest.mark.parametrize("name", PROJECTS)
def test_tree(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    translated(name).write(folder)
    kept = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((TREES / name).iterdir())
        if path.is_file()
    }
    assert scripts(folder) == kept, "run `make golden`, and read the difference"


@pytest.mark.parametrize("name", PROJECTS)
def test_runtime_is_copied_byte_for_byte(name: str) -> None:
    translation = translated(name)
    copies = {
        path: content
        for path, content in translation.files().items()
        if path.startswith("caffe_runtime/")
    }
    assert bool(copies) == ("caffe_runtime" in "".join(translation.scripts.values()))
    for path, content in copies.items():
        module = path.removeprefix("caffe_runtime/").removesuffix(".py")
        assert content == runtime_module(module)


@pytest.mark.parametrize("name", PROJECTS)
def test_tree_is_clean(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    translated(name).write(folder)
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [find_ruff_bin(), *command, "--no-cache", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    for script in folder.rglob("*.py"):
        compile(script.read_text(encoding="utf-8"), script.name, "exec")


_BUILD_ALL = """
import sys
for folder in sys.argv[1:]:
    sys.path.insert(0, folder)
    import model
    assert model.build_model().count_params() > 0
    import train
    assert train.MAX_ITER > 0
    sys.path.remove(folder)
    for name in [n for n in sys.modules if n.partition(".")[0] in NAMES]:
        del sys.modules[name]
"""


@pytest.mark.slow
def test_trees_import_and_build_without_a_warning(tmp_path: Path) -> None:
    folders = []
    for name in PROJECTS:
        if PROJECTS[name].endswith("solver.prototxt"):
            translated(name).write(tmp_path / name)
            folders.append(str(tmp_path / name))
    names = {"model", "train", "data", "caffe_runtime"}
    script = _BUILD_ALL.replace("NAMES", repr(names))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *folders],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
