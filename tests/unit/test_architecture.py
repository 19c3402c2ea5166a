"""The direction of dependencies, and who may use what; read from the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import caffe2k

PACKAGE = Path(caffe2k.__file__).resolve().parent
REPOSITORY = PACKAGE.parent

LEVELS = (
    {"diagnostics", "resources"},
    {"schema"},
    {"ir"},
    {"prototxt", "shell", "sources", "weights"},
    {"codegen", "datasets"},
    {"ops"},
    {"passes"},
    {"pipeline", "plugin", "project"},
    {"prediction", "resuming", "tested"},
    {"runs"},
    {"layer_sizes", "porting", "translation"},
    {"verification"},
    {"cli"},
)
"""What stands on one line knows only what stands above it."""

LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

USERS = {
    "PIL": {"datasets/images.py"},
    "click": {"cli/"},
    "cv2": {
        "datasets/images.py",
        "verification/opencv_blobs.py",
        "verification/opencv_process.py",
    },
    "google": {"datasets/", "schema/", "sources/database.py"},
    "google_crc32c": {"datasets/tfrecords.py"},
    "grpc_tools": {"schema/generate.py"},
    "h5py": {"datasets/hdf5.py", "weights/"},
    "jinja2": {"codegen/templates.py"},
    "lark": {"prototxt/"},
    "lmdb": {"datasets/databases.py"},
    "numpy": {"datasets/", "verification/", "weights/"},
    "plyvel": {"datasets/databases.py"},
    "rich": {"cli/"},
    "ruff": {"codegen/formatting.py"},
}
"""What of other people's may be imported, and where."""

READERS = {"PIL", "cv2", "h5py", "lmdb", "numpy", "plyvel"}
"""What sources/ imports by name, where data is to be read."""

RUNTIME = {"h5py", "keras", "numpy"}
RUNTIME_IN_FUNCTIONS = {
    "PIL",
    "cv2",
    "google_crc32c",
    "jax",
    "lmdb",
    "plyvel",
    "tensorflow",
    "torch",
}

MOST_LINES = 400

SOURCES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
OURS = [name for name in SOURCES if not name.startswith("runtime/")]
RUNTIME_SOURCES = [name for name in SOURCES if name.startswith("runtime/")]


def tree(source: str) -> ast.Module:
    return ast.parse((PACKAGE / source).read_text(encoding="utf-8"))


def imported(node: ast.AST) -> Iterator[str]:
    """The modules that are imported anywhere below a node, by their whole names."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            yield "." * found.level + (found.module or "")


def parts_used(source: str) -> set[str]:
    """The parts of the package that a file imports from, or imports as such."""
    whole = set(imported(tree(source)))
    for node in ast.walk(tree(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "caffe2k":
            whole |= {f"caffe2k.{alias.name}" for alias in node.names}
    used = {name.split(".")[1] for name in whole if name.startswith("caffe2k.")}
    return used - {"__version__"}


def calls(source: str, *functions: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in functions
    ]


def part(source: str) -> str:
    """The package or top-level module that a file belongs to."""
    return source.partition("/")[0].removesuffix(".py")


def is_foreign(module: str) -> bool:
    return module not in sys.stdlib_module_names and module != "caffe2k"


def is_in(source: str, places: set[str]) -> bool:
    """Whether a file is one of `places`, or in one of its folders."""
    return any(
        source.startswith(place) if place.endswith("/") else source == place
        for place in places
    )


def test_every_part_has_a_level() -> None:
    assert {part(source) for source in OURS} == {*LEVEL, "__init__", "__main__"}


@pytest.mark.parametrize("source", [s for s in OURS if part(s) in LEVEL])
def test_imports_point_downwards(source: str) -> None:
    own = part(source)
    used = parts_used(source) - {own}
    assert "runtime" not in used
    assert {name for name in used if LEVEL[name] >= LEVEL[own]} == set()


@pytest.mark.parametrize("source", OURS)
def test_imports_within_the_package_are_absolute(source: str) -> None:
    assert [name for name in imported(tree(source)) if name.startswith(".")] == []


@pytest.mark.parametrize("source", OURS)
def test_libraries_stay_in_their_places(source: str) -> None:
    libraries = {name.split(".")[0] for name in imported(tree(source))}
    astray = {
        name
        for name in filter(is_foreign, libraries)
        if not is_in(source, USERS.get(name, set()))
    }
    assert astray == set()


@pytest.mark.parametrize("source", OURS)
def test_modules_are_imported_by_name_only_to_read_data(source: str) -> None:
    by_name = calls(source, "import_module", "__import__")
    allowed = ("cli/__init__.py", "ops/registry.py", "sources/errors.py")
    assert by_name == [] or source in allowed
    for call in calls(source, "library"):
        assert source.startswith("sources/")
        assert isinstance(call.args[0], ast.Constant)
        assert call.args[0].value in READERS


@pytest.mark.parametrize("source", RUNTIME_SOURCES)
def test_runtime_is_alone_with_keras(source: str) -> None:
    whole = tree(source)
    inside = {
        name.split(".")[0]
        for node in ast.walk(whole)
        if isinstance(node, ast.FunctionDef)
        for name in imported(node)
    }
    siblings = {name[len("runtime/") : -len(".py")] for name in RUNTIME_SOURCES}
    for name in imported(whole):
        if name.startswith("."):
            assert name.lstrip(".") in siblings | {""}
            continue
        library = name.split(".")[0]
        assert library != "caffe2k"
        if is_foreign(library):
            assert library in RUNTIME or library in RUNTIME_IN_FUNCTIONS & inside
    at_import = {
        name.split(".")[0]
        for node in whole.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in imported(node)
    }
    assert at_import.isdisjoint(RUNTIME_IN_FUNCTIONS)


@pytest.mark.parametrize("source", OURS)
def test_only_the_command_line_prints_or_exits(source: str) -> None:
    if not source.startswith("cli/") and source != "schema/generate.py":
        assert calls(source, "print", "exit", "SystemExit") == []
        assert [
            ast.unparse(node)
            for node in ast.walk(tree(source))
            if isinstance(node, ast.Attribute)
            and ast.unparse(node) in ("sys.stdout", "sys.stderr", "sys.exit")
        ] == []


@pytest.mark.parametrize("source", SOURCES)
def test_files_are_short(source: str) -> None:
    if source != "schema/caffe_pb2.py":
        text = (PACKAGE / source).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= MOST_LINES


def test_translating_imports_no_framework() -> None:
    lenet = REPOSITORY / "samples/digits_lenet/solver.prototxt"
    command = ("-X", "importtime", "-m", "caffe2k", "translate", str(lenet))
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith('"""DigitsLeNet, from train_val.prototxt."""\n')
    lines = done.stderr.splitlines()
    modules = {line.split("|")[-1].strip().split(".")[0] for line in lines}
    assert "caffe2k" in modules
    frameworks = {"h5py", "jax", "keras", "numpy", "rich", "tensorflow", "torch"}
    assert modules.isdisjoint(frameworks)
