"""The command line; the only module that prints or exits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffe2k import __version__
from caffe2k.diagnostics import Diagnostic, TranslationError, printable

if TYPE_CHECKING:
    from caffe2k.pipeline import Options
    from caffe2k.weights.coverage import CoverageReport

_FILE = click.Path(path_type=Path)
_NOT_TRANSLATED = 1


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="caffe2k")
def main() -> None:
    """Turns Caffe projects into Keras projects that train the same."""


@contextmanager
def _diagnosed() -> Iterator[None]:
    """Shows what a TranslationError carries, and ends with exit code 1."""
    try:
        yield
    except TranslationError as e:
        _show(e.diagnostics)
        errors = sum(d.severity.value == "error" for d in e.diagnostics)
        click.echo(f"\n{_number(errors, 'error')}; nothing was written", err=True)
        sys.exit(_NOT_TRANSLATED)


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _show(diagnostics: tuple[Diagnostic, ...]) -> None:
    click.echo("\n\n".join(d.render() for d in diagnostics), err=True)


def _net_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that lowers a net."""
    for option in (
        click.option(
            "--phase",
            type=click.Choice(["TRAIN", "TEST"]),
            help="One phase alone. Default: both for a net with data or losses, else TEST.",
        ),
        click.option(
            "--data-format",
            type=click.Choice(["channels_last", "channels_first"]),
            default="channels_last",
            show_default=True,
            help="Where the Keras model has its channels.",
        ),
        click.option(
            "--input-shape",
            "input_shapes",
            multiple=True,
            metavar="BLOB=N,C,H,W",
            callback=lambda _context, _option, values: dict(map(_shape, values)),
            help="The shape of a data layer's blob, where its data is not here.",
        ),
    ):
        command = option(command)
    return command


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    blob, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not blob or not shape or min(shape) < 1:
        raise click.BadParameter(f"{text!r} is not of the form data=1,3,227,227")
    return blob, shape


def _options(
    phase: str | None,
    data_format: str,
    input_shapes: dict[str, tuple[int, ...]],
    strict: bool,
) -> Options:
    from caffe2k.ir.net import Phase
    from caffe2k.pipeline import Options

    chosen = None if phase is None else Phase[phase]
    return Options(chosen, data_format, input_shapes, strict)


@main.command()
@click.argument("net_or_solver", type=_FILE)
@click.option("--solver", type=_FILE, help="The solver, where a net is given.")
@click.option("--weights", type=_FILE, help="A .caffemodel to port along.")
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Accept weights that cover only some layers, as for fine-tuning.",
)
@_net_options
@click.option(
    "-o", "--output", type=_FILE, help="The new folder; else model.py is printed."
)
@click.option("--force", is_flag=True, help="Write into a folder that exists.")
@click.option(
    "--strict", is_flag=True, help="Make every difference from Caffe an error."
)
def translate(
    net_or_solver: Path,
    solver: Path | None,
    weights: Path | None,
    allow_partial: bool,
    phase: str | None,
    data_format: str,
    input_shapes: dict[str, tuple[int, ...]],
    output: Path | None,
    force: bool,
    strict: bool,
) -> None:
    """Translates a net, or a solver with the net that it names, to Keras.

    \b
    Examples:
      caffe2k translate deploy.prototxt
      caffe2k translate solver.prototxt -o keras
      caffe2k translate solver.prototxt --weights lenet.caffemodel -o keras
      caffe2k translate train_val.prototxt --solver solver.prototxt -o keras
    """
    if allow_partial and weights is None:
        raise click.UsageError(
            "--allow-partial is about --weights, which is not given."
        )
    if force and output is None:
        raise click.UsageError("--force is about -o, which is not given.")
    with _diagnosed():
        from caffe2k.translation import translate as run

        translation = run(
            net_or_solver,
            solver=solver,
            weights=weights,
            options=_options(phase, data_format, input_shapes, strict),
            allow_partial=allow_partial,
            output=output,
        )
        if translation.warnings:
            _show(translation.warnings)
        if output is None:
            click.echo(translation.model, nl=False)
            return
        translation.write(output, force=force)
    if translation.coverage is not None:
        _show_coverage(translation.coverage)
    click.echo(
        f"{os.fspath(output)}: {', '.join(sorted(translation.top_level_files()))}"
    )


@main.command()
@click.argument("net", type=_FILE)
@click.argument("caffemodel", type=_FILE)
@click.option(
    "-o", "--output", type=_FILE, required=True, help="The .h5 file to write."
)
@_net_options
@click.option(
    "--allow-partial", is_flag=True, help="Accept weights for only some layers."
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def weights(
    net: Path,
    caffemodel: Path,
    output: Path,
    phase: str | None,
    data_format: str,
    input_shapes: dict[str, tuple[int, ...]],
    allow_partial: bool,
    force: bool,
) -> None:
    """Ports the weights of a .caffemodel to an .h5 keyed by layer name.

    \b
    Example:
      caffe2k weights deploy.prototxt lenet.caffemodel -o lenet.h5

    Keras reads it with model.load_weights("lenet.h5", by_name=True).
    """
    with _diagnosed():
        from caffe2k.translation import port_weights

        with _progress(caffemodel.name) as advance:
            coverage = port_weights(
                net,
                caffemodel,
                output,
                options=_options(phase, data_format, input_shapes, strict=False),
                allow_partial=allow_partial,
                force=force,
                on_progress=advance,
            )
    _show_coverage(coverage)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
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


def _show_coverage(coverage: CoverageReport) -> None:
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


@main.command()
@click.argument("file", type=_FILE)
def upgrade(file: Path) -> None:
    """Prints a net or solver in today's form (V0 and V1 layers, deprecated fields).

    \b
    Example:
      caffe2k upgrade old_train_val.prototxt > train_val.prototxt
    """
    with _diagnosed():
        from caffe2k.diagnostics import Diagnostics
        from caffe2k.prototxt import read, to_prototxt
        from caffe2k.prototxt import upgrade as bring_up_to_date

        diagnostics = Diagnostics()
        message = read(file, diagnostics)
        diagnostics.raise_if_errors()
        upgraded = bring_up_to_date(message, diagnostics)
        diagnostics.raise_if_errors()
        if diagnostics.warnings:
            _show(diagnostics.warnings)
        click.echo(to_prototxt(upgraded), nl=False)


@main.command()
def layers() -> None:
    """Lists the layer types that can be translated, and what they become."""
    from caffe2k.ops import registered_ops

    ops = registered_ops()
    width = max(map(len, ops))
    for name in sorted(ops):
        click.echo(f"{name:{width}}  {ops[name].keras}")
