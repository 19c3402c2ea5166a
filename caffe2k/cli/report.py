"""What commands say: diagnostics, progress, and tables; on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from caffe2k.diagnostics import Diagnostic, TranslationError, printable

if TYPE_CHECKING:
    from caffe2k.weights.coverage import CoverageReport

FAILED = 1
"""The exit code of a run that ended with diagnostics."""


@contextmanager
def diagnosed(consequence: str = "nothing was written") -> Iterator[None]:
    """Shows what a TranslationError carries, and ends with exit code 1."""
    try:
        yield
    except TranslationError as e:
        show(e.diagnostics)
        errors = sum(d.severity.value == "error" for d in e.diagnostics)
        click.echo(f"\n{_number(errors, 'error')}; {consequence}", err=True)
        sys.exit(FAILED)


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def show(diagnostics: tuple[Diagnostic, ...]) -> None:
    click.echo("\n\n".join(d.render() for d in diagnostics), err=True)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over bytes, on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show_coverage(coverage: CoverageReport) -> None:
    """What was ported, and what either side has alone, with shapes."""
    from rich.console import Console
    from rich.table import Table

    table = Table("layer", "Keras layer", "shapes", "", box=None, pad_edge=False)
    for word, layers in (
        ("ported", coverage.ported),
        ("missing", coverage.missing),
        ("unused", coverage.unused),
    ):
        for layer in layers:
            shapes = ", ".join(" x ".join(map(str, s)) or "1" for s in layer.shapes)
            name = printable(layer.caffe_layer)
            table.add_row(name, layer.keras_name, shapes, word)
    Console(stderr=True, markup=False, highlight=False).print(table)
