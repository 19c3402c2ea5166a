"""`caffe2k inspect`: what a file of weights holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffe2k.cli.arguments import FILE
from caffe2k.cli.columns import Row, echo_columns, shape_text
from caffe2k.cli.report import diagnosed, progress
from caffe2k.diagnostics import printable

if TYPE_CHECKING:
    from caffe2k.weights.blob import Blob, LayerBlobs
    from caffe2k.weights.contents import Contents
    from caffe2k.weights.statistics import Statistics

_HEADER = ("layer", "type", "blob", "shape", "note")
_NUMBERS = ("values", "bytes", "min", "mean", "max", "std")


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--prototxt", is_flag=True, help="Print the net that a caffemodel carries."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def inspect(file: Path, prototxt: bool, as_json: bool) -> None:
    """Shows the layers, shapes and values of a file of weights.

    FILE is a .caffemodel, .solverstate or .binaryproto of Caffe, binary or HDF5, or what
    Keras saved: .h5, .weights.h5 or .keras.

    \b
    Examples:
      caffe2k inspect lenet.caffemodel
      caffe2k inspect lenet.caffemodel --prototxt > train.prototxt
      caffe2k inspect lenet_iter_400.solverstate --json
    """
    if prototxt and as_json:
        raise click.UsageError("--prototxt and --json are two ways to print.")
    with diagnosed("nothing was read"):
        if prototxt:
            click.echo(_prototxt(file), nl=False)
            return
        from caffe2k.weights.contents import read_contents

        contents = read_contents(file)
        with progress(file.name) as advance:
            layers = _measured(contents, advance)
    if as_json:
        click.echo(json.dumps(_plain(file, contents, layers), indent=2))
    else:
        _show(file, contents, layers)


def _prototxt(file: Path) -> str:
    from caffe2k.diagnostics import Diagnostics
    from caffe2k.prototxt.print import to_prototxt
    from caffe2k.prototxt.upgrade import upgrade
    from caffe2k.weights.net_definition import read_definition, restore

    diagnostics = Diagnostics()
    net = upgrade(read_definition(file), diagnostics)
    diagnostics.raise_if_errors()
    restore(net)
    return to_prototxt(net)


@dataclass(frozen=True)
class _Measured:
    """A blob's place in its layer, and what its values are like."""

    index: int
    blob: Blob
    statistics: Statistics

    @property
    def note(self) -> str:
        """What is suspicious about the values."""
        if self.blob.stored != self.blob.count:
            return f"{self.blob.stored} in the file"
        if self.statistics.strange:
            return f"{self.statistics.strange} NaN or infinite"
        return "all zero" if self.statistics.all_zero else ""


Measured = list[tuple["LayerBlobs", list[_Measured]]]
"""Every layer, and those of its blobs that the file has."""


def _measured(contents: Contents, advance: Callable[[int, int], None]) -> Measured:
    from caffe2k.weights.statistics import statistics

    total = sum(blob.count for layer in contents.layers for blob in layer.blobs if blob)
    done, found = 0, []
    for layer in contents.layers:
        blobs = []
        for index, blob in enumerate(layer.blobs):
            if blob is not None:
                blobs.append(_Measured(index, blob, statistics(blob)))
                done += blob.count
                advance(4 * done, 4 * total)
        found.append((layer, blobs))
    return found


def _values(layers: Measured) -> int:
    return sum(measured.blob.count for _, blobs in layers for measured in blobs)


def _show(file: Path, contents: Contents, layers: Measured) -> None:
    facts = "".join(f", {name} {value}" for name, value in contents.facts.items())
    click.echo(printable(f"{file}: {contents.kind}{facts}") + "\n")
    rows = [row for layer, blobs in layers for row in _rows(layer, blobs)]
    echo_columns((*_HEADER, *_NUMBERS), rows, numbers=len(_NUMBERS))
    values, number = _values(layers), sum(len(blobs) for _, blobs in layers)
    click.echo(
        f"\n{len(layers)} layers, {number} blobs, {values} values, "
        f"{4 * values} bytes as floats"
    )


def _rows(layer: LayerBlobs, blobs: list[_Measured]) -> Iterator[Row]:
    """A row for each blob, the first one with the layer's name; one for none."""
    names = (layer.name, layer.type)
    if not blobs:
        yield (*names, *[""] * (len(_HEADER) + len(_NUMBERS) - 2))
    for measured in blobs:
        blob, s = measured.blob, measured.statistics
        numbers = (s.minimum, s.mean, s.maximum, s.std)
        yield (
            *names,
            str(measured.index),
            shape_text(blob.shape),
            measured.note,
            str(blob.count),
            str(4 * blob.count),
            *("" if number is None else f"{number:.4g}" for number in numbers),
        )
        names = ("", "")


def _plain(file: Path, contents: Contents, layers: Measured) -> dict[str, Any]:
    return {
        "file": str(file),
        "kind": contents.kind,
        **{
            name.replace(" ", "_"): _finite(value)
            for name, value in contents.facts.items()
        },
        "values": _values(layers),
        "bytes": 4 * _values(layers),
        "layers": [
            {
                "name": layer.name,
                "type": layer.type,
                "blobs": list(map(_plain_blob, blobs)),
            }
            for layer, blobs in layers
        ],
    }


def _finite(value: str | float) -> str | float | None:
    """The value, if JSON has one like it: it knows no NaN and no infinity."""
    is_strange = isinstance(value, float) and not math.isfinite(value)
    return None if is_strange else value


def _plain_blob(measured: _Measured) -> dict[str, Any]:
    s = measured.statistics
    return {
        "index": measured.index,
        "shape": measured.blob.shape,
        "values": measured.blob.count,
        "stored": measured.blob.stored,
        "bytes": 4 * measured.blob.count,
        "min": s.minimum,
        "mean": s.mean,
        "max": s.maximum,
        "std": s.std,
        "not_finite": s.strange,
        "all_zero": s.all_zero,
    }
