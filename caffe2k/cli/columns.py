"""Plain tables, as wide as what is in them: for people and for pipes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import click

from caffe2k.diagnostics import printable

Row = Sequence[str]


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape as `64 x 3 x 3`; `-` where there is none."""
    if shape is None:
        return "-"
    return " x ".join(map(str, shape)) or "1"


def shapes_text(shapes: Sequence[tuple[int, ...]]) -> str:
    """Several shapes, with commas between them."""
    return ", ".join(map(shape_text, shapes))


def echo_columns(
    header: Row, rows: Sequence[Row], *, numbers: int = 0, err: bool = False
) -> None:
    """Prints rows under a header; the last `numbers` columns are set right.

    They go to standard output, or with `err` to standard error.
    """
    table = [header, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    first_number = len(header) - numbers
    for row in table:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blanks = " " * (width - _width(cell))
            cells.append(blanks + cell if i >= first_number else cell + blanks)
        click.echo("  ".join(cells).rstrip(), err=err)


def _width(text: str) -> int:
    """How many places of a terminal a text takes; ideographs take two each."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)
