"""One file with ten mistakes: ten diagnostics in one run, in their order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from caffe2k.cli import main

FOLDER = Path(__file__).resolve().parent / "ten_mistakes"


def test_ten_mistakes_are_ten_diagnostics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    result = CliRunner().invoke(main, ["translate", "train_val.prototxt"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (FOLDER / "expected.txt").read_text(encoding="utf-8")
    *diagnostics, end = result.stderr.split("\n\n")
    assert end == "10 errors; nothing was written\n"
    assert len(diagnostics) == 10
    places = [re.search(r"--> train_val.prototxt:(\d+):(\d+)", d) for d in diagnostics]
    lines = [int(place[1]) for place in places if place]
    assert len(lines) == 10
    assert lines == sorted(lines)
    for diagnostic in diagnostics:
        assert re.search(r"^ +\| +\^+$", diagnostic, re.MULTILINE)
        assert " = help: " in diagnostic
