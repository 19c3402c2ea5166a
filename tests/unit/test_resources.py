"""Resources: found beside the package and inside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffe2k import resources


def test_in_a_checkout() -> None:
    root = Path(__file__).parents[2]
    expected = (root / "grammars" / "prototxt.lark").read_text(encoding="utf-8")
    assert resources.grammar("prototxt.lark") == expected


def test_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("grammars", "templates", "runtime"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").write_bytes(folder.encode() + b"\r\n")
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path)
    assert resources.grammar("x.py") == "grammars\r\n"
    assert resources.template("x.py") == "templates\r\n"
    assert resources.runtime_module("x") == "runtime\r\n"
