"""SourceError: data that cannot be read now, or that Caffe would refuse."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from caffe2k.diagnostics import SourceSpan


class SourceError(Exception):
    """Data from which no shape comes; `refused` where Caffe itself would not take it."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        refused: bool = False,
        span: SourceSpan | None = None,
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.refused = refused
        self.span = span
        self.help = help


def missing(source: str, named_in: str = "") -> SourceError:
    """Nothing lies where `source` points, which `named_in` (a list of files) names."""
    where = f", named in `{named_in}`," if named_in else ""
    return SourceError(
        "data-missing",
        f"`{source}`{where} is not there: no shape can be read from it",
    )


def unreadable(source: str, reason: str) -> SourceError:
    return SourceError("data-unreadable", f"cannot read `{source}`: {reason}")


def library(module: str, source: str) -> Any:
    """The module that reads `source`; SourceError where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise SourceError(
            "data-library-missing",
            f"cannot read `{source}`: the module {module} is not installed",
            help='pip install "caffe2k[data]"',
        ) from None
