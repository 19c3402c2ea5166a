"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from caffe2k.pipeline import Options

FILE = click.Path(path_type=Path)


def net_options(command: Callable[..., None]) -> Callable[..., None]:
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


def chosen_options(
    phase: str | None,
    data_format: str,
    input_shapes: dict[str, tuple[int, ...]],
    strict: bool,
) -> Options:
    from caffe2k.ir.net import Phase
    from caffe2k.pipeline import Options

    chosen = None if phase is None else Phase[phase]
    return Options(chosen, data_format, input_shapes, strict)
