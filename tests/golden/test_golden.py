"""Emitted trees, byte for byte, and clean by ruff's and Python's own judgement."""

from __future__ import annotations

import subprocess
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
