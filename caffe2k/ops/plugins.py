"""Plug-ins: Python files of a user, or installed packages, that add or replace ops."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from caffe2k.diagnostics import (
    Diagnostic,
    Severity,
    SourceFile,
    SourceSpan,
    TranslationError,
)
from caffe2k.resources import runtime_modules

GROUP = "caffe2k.ops"
"""The entry-point group that installed plug-ins declare their module in."""

_RUNTIME = "caffe_runtime"


@dataclass
class _Loaded:
    """What has been loaded into this process."""

    files: dict[Path, str]
    """The source of each plug-in, and the name that its user knows it by."""
    runtime: dict[str, Path]
    """The runtime modules that they bring, by name."""
    installed: bool = False


_loaded = _Loaded({}, {})


def load_ops(path: Path) -> None:
    """Loads a plug-in from a Python file; once, however often it is named.

    The modules in a folder `caffe_runtime` beside it are its runtime modules. Raises
    TranslationError, which names the line, where the file can't be imported.
    """
    file = path.resolve()
    if file in _loaded.files:
        return
    if not file.is_file():
        raise _refused(
            "plugin-missing",
            f"the plug-in `{path}` is not there",
            help="give a Python file that declares ops with @layer_op",
        )
    _loaded.files[file] = str(path)
    try:
        with blamed():
            _execute(file)
            _add_runtime(file, str(path))
    except TranslationError:
        del _loaded.files[file]
        raise


def _execute(file: Path) -> ModuleType:
    name = f"caffe2k_plugin_{len(_loaded.files)}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise _refused(
            "plugin-error",
            f"the plug-in `{file.name}` is no Python file",
            help="its name must end in .py",
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_installed() -> None:
    """Loads the modules that installed packages name in the entry-point group, once.

    Raises TranslationError where one can't be imported.
    """
    if _loaded.installed:
        return
    _loaded.installed = True
    if not _is_any_installed():
        return
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        try:
            module = entry.load()
        except Exception as e:
            raise _refused(
                "plugin-error",
                f"the plug-in `{entry.name}` ({entry.value}) can't be imported: {e}",
                help="correct the package that brings it, or uninstall it",
            ) from e
        if isinstance(module, ModuleType) and module.__file__ is not None:
            file = Path(module.__file__).resolve()
            _loaded.files[file] = file.name
            _add_runtime(file, entry.name)


def _is_any_installed() -> bool:
    """Whether a package declares the group; importlib.metadata alone takes 40 ms."""
    return any(
        _declares(file)
        for folder in dict.fromkeys(sys.path)
        for file in Path(folder).glob("*-info/entry_points.txt")
    )


def _declares(file: Path) -> bool:
    try:
        return f"[{GROUP}]".encode() in file.read_bytes()
    except OSError:
        return False


def _add_runtime(file: Path, name: str) -> None:
    """Notes the runtime modules that lie beside a plug-in."""
    for path in sorted((file.parent / _RUNTIME).glob("*.py")):
        if path.stem == "__init__":
            continue
        if path.stem in runtime_modules():
            raise _refused(
                "plugin-error",
                f"the plug-in `{name}` has a runtime module `{path.stem}`, as caffe2k has",
                help=f"give {_RUNTIME}/{path.name} another name",
            )
        _loaded.runtime[path.stem] = path


def plugged_in_runtime() -> Mapping[str, Path]:
    """The runtime modules of all plug-ins, by name."""
    return _loaded.runtime


@contextmanager
def blamed() -> Iterator[None]:
    """Makes what goes wrong in a plug-in's own code a diagnostic that shows the line."""
    try:
        yield
    except TranslationError:
        raise
    except Exception as e:
        found = _fault(e)
        if found is None:
            raise
        raise TranslationError([found]) from e


def _fault(error: Exception) -> Diagnostic | None:
    """What an exception says of the innermost line of a plug-in; None for our own bug."""
    lines = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        lines.append((error.filename or "", error.lineno))
    for filename, number in reversed(lines):
        file = Path(filename).resolve()
        if file in _loaded.files and number is not None:
            return Diagnostic(
                Severity.ERROR,
                "plugin-error",
                f"the plug-in raises {type(error).__name__}: {_text(error)}",
                _line(file, number),
                help="docs/plugins.md says what a plug-in can use",
            )
    return None


def _text(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _line(file: Path, number: int) -> SourceSpan:
    source = SourceFile(
        _loaded.files[file], file.read_bytes().decode("utf-8", "replace")
    )
    lines = source.text.splitlines(keepends=True)
    start = sum(map(len, lines[: number - 1]))
    text = source.line(number)
    indent = len(text) - len(text.lstrip())
    return SourceSpan(source, start + indent, start + len(text))


def _refused(code: str, message: str, help: str) -> TranslationError:
    return TranslationError([Diagnostic(Severity.ERROR, code, message, help=help)])
