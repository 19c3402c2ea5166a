"""The error of this package: one diagnostic about a file of weights."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostic, Severity, TranslationError


class WeightsError(TranslationError):
    """A file of weights that can't be read, ported or written."""

    def __init__(self, code: str, message: str, help: str | None = None) -> None:
        super().__init__([Diagnostic(Severity.ERROR, code, message, help=help)])
