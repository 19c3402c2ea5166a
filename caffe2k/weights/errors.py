"""The error of this package, and those that several readers raise."""

from __future__ import annotations

from pathlib import Path

from caffe2k.diagnostics import Diagnostic, Severity, TranslationError


class WeightsError(TranslationError):
    """A file of weights that can't be read, ported or written: one diagnostic."""

    def __init__(self, code: str, message: str, help: str | None = None) -> None:
        super().__init__([Diagnostic(Severity.ERROR, code, message, help=help)])


def solverstate_given(path: Path) -> WeightsError:
    """The error for a solver's state where its net's weights were asked for."""
    return WeightsError(
        "file-is-solverstate",
        f"`{path}` is a solverstate: a solver's history, without the net's weights",
        help="give the .caffemodel that was written with it",
    )


def not_a_solverstate(path: Path) -> WeightsError:
    """The error for a file that holds something else."""
    return WeightsError(
        "file-not-solverstate",
        f"`{path}` is not a solver's state",
        help="give the .solverstate that Caffe wrote beside its .caffemodel",
    )
