"""Writes the emitted files as a new folder, all of them or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from caffe2k.codegen.formatting import format_files
from caffe2k.diagnostics import Diagnostic, Severity, TranslationError

Writer = Callable[[Path], None]
"""Writes one file to the path that it is given."""


def write_folder(
    folder: Path,
    files: Mapping[str, str | Writer],
    *,
    force: bool = False,
    kept: Collection[str] = (),
) -> None:
    """Puts `files` (path in the folder -> text, or what writes it) in place at once.

    They are made in a hidden folder near it, which then takes its name. An existing
    folder is refused without `force`; with it, the files are moved into it, each at once,
    and what else lies there (snapshots, for example) stays, as do those that `kept` names.

    Raises TranslationError where the folder exists, or can't be written.
    """
    if folder.exists() and not force:
        raise _refused(
            "output-exists",
            f"`{folder}` exists",
            "choose another folder, or replace the files in it with --force",
        )
    near = next(path for path in folder.absolute().parents if path.is_dir())
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=near))
        try:
            _fill(made, files)
            _swap(made, folder, kept)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as e:
        raise _refused(
            "output-unwritable",
            f"can't write `{folder}`: {e.strerror}",
            "choose another place with -o",
        ) from e


def _fill(folder: Path, files: Mapping[str, str | Writer]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8", newline="\n")
        else:
            content(path)
    format_files([folder / name for name in files if _is_script(name)])


def _is_script(name: str) -> bool:
    """Whether a file was made here; runtime modules are copied byte for byte."""
    return name.endswith(".py") and "/" not in name


def _swap(made: Path, folder: Path, kept: Collection[str]) -> None:
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made.chmod(0o777 & ~_umask())
        made.rename(folder)
        return
    for path in sorted(made.rglob("*")):
        target = folder / path.relative_to(made)
        if target.exists() and path.relative_to(made).as_posix() in kept:
            continue
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _refused(code: str, message: str, help: str | None = None) -> TranslationError:
    return TranslationError([Diagnostic(Severity.ERROR, code, message, help=help)])
