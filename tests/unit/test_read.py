"""Files: what can be read, what is told of what can't, and every file of the corpus."""

from __future__ import annotations

from pathlib import Path

from caffe2k.diagnostics import Diagnostics, SourceFile
from caffe2k.prototxt import load, read, read_net, read_solver, to_prototxt


def failure_of_loading(path: Path) -> str:
    diagnostics = Diagnostics()
    assert load(path, diagnostics) is None
    (found,) = diagnostics
    return found.render()


def test_files_that_are_no_prototxt(tmp_path: Path) -> None:
    missing = tmp_path / "missing.prototxt"
    assert failure_of_loading(missing) == (
        f"error[unreadable-file]: can't read `{missing}`: No such file or directory\n"
        "  = help: give the path of a .prototxt"
    )
    assert failure_of_loading(tmp_path) == (
        f"error[unreadable-file]: can't read `{tmp_path}`: Is a directory\n"
        "  = help: give the path of a .prototxt"
    )
    weights = tmp_path / "net.caffemodel"
    weights.write_bytes(b"\n\x05LeNet\xa2\x06\x10\n\x04data\x12\x04Data\x00\x01\x02")
    assert failure_of_loading(weights) == (
        f"error[binary-file]: `{weights}` is a binary file, not a prototxt\n"
        "  = help: `caffe2k inspect` shows what it holds, with --prototxt the net in a caffemodel"
    )
    wide = tmp_path / "wide.prototxt"
    wide.write_text('name: "a"', encoding="utf-16")
    assert failure_of_loading(wide) == (
        f"error[binary-file]: `{wide}` is a text in UTF-16\n  = help: save it as UTF-8"
    )


def test_a_file_over_the_limit(tmp_path: Path) -> None:
    large = tmp_path / "large.prototxt"
    with large.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    assert failure_of_loading(large) == (
        f"error[unreadable-file]: `{large}` is too large\n"
        "  = help: a prototxt has at most 64 MB"
    )


def test_bytes_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "latin.prototxt"
    path.write_bytes(b'# \xe9t\xe9\nname: "\xe9"\n')
    diagnostics = Diagnostics()
    net = read_net(path, diagnostics)
    assert not list(diagnostics)
    assert net.name.encode("utf-8", "surrogateescape") == b"\xe9"
    assert 'name: "\\351"' in to_prototxt(net)


def test_nets_and_solvers_are_told_apart() -> None:
    diagnostics = Diagnostics()
    assert read(SourceFile("a", 'name: "x"'), diagnostics).schema.name == "NetParameter"
    solver = read(SourceFile("b", 'net: "x" base_lr: 1'), diagnostics)
    assert solver.schema.name == "SolverParameter"
    assert not list(diagnostics)


def test_the_wrong_kind_of_file_is_one_mistake() -> None:
    diagnostics = Diagnostics()
    read_net(SourceFile("a", "base_lr: 1 max_iter: 5 momentum: 0.9"), diagnostics)
    read_solver(SourceFile("b", "layer { }"), diagnostics)
    read_net(SourceFile("c", "item { } item { }"), diagnostics)
    assert [(d.code, d.message, d.help) for d in diagnostics] == [
        ("wrong-file", "this is a solver, not a net", "a net is expected here"),
        ("wrong-file", "this is a net, not a solver", "a solver is expected here"),
        ("wrong-file", "this is neither a net nor a solver", "a net is expected here"),
    ]


def test_a_misspelt_field_is_not_a_wrong_file() -> None:
    diagnostics = Diagnostics()
    read_net(SourceFile("a", "layar { }"), diagnostics)
    assert [(d.code, d.message, d.help) for d in diagnostics] == [
        ("unknown-field", "a net has no field `layar`", "did you mean `layer`?")
    ]
