"""What commands say: diagnostics, progress, and tables; on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from caffe2k.cli.columns import echo_columns, shapes_text
from caffe2k.diagnostics import Diagnostic, TranslationError

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
        click.echo(f"\n{number(errors, 'error')}; {consequence}", err=True)
        sys.exit(FAILED)


def number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def show(diagnostics: tuple[Diagnostic, ...]) -> None:
    click.echo("\n\n".join(d.render() for d in diagnostics), err=True)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over bytes, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show_coverage(coverage: CoverageReport) -> None:
    """What was ported, and what either side has alone, with shapes; and how many."""
    found = {
        "ported": coverage.ported,
        "missing": coverage.missing,
        "unused": coverage.unused,
    }
    rows = [
        (layer.caffe_layer, layer.keras_name, shapes_text(layer.shapes), word)
        for word, layers in found.items()
        for layer in layers
    ]
    rows += [
        (layer.caffe_layer, layer.keras_name, layer.reason, "mismatched")
        for layer in coverage.mismatched
    ]
    if rows:
        echo_columns(("layer", "Keras layer", "shapes", ""), rows, err=True)
    counts = {word: len(layers) for word, layers in found.items()}
    counts["mismatched"] = len(coverage.mismatched)
    click.echo(", ".join(f"{n} {word}" for word, n in counts.items()), err=True)
