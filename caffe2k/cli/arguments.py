"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffe2k.cli.report import diagnosed

if TYPE_CHECKING:
    from caffe2k.pipeline import Options

FILE = click.Path(path_type=Path)

_STUB_UNKNOWN = "caffe2k.stub_unknown"


def _load_ops(
    _context: click.Context, _option: click.Parameter, paths: tuple[Path, ...]
) -> None:
    if paths:
        from caffe2k.ops.plugins import load_ops

        with diagnosed():
            for path in paths:
                load_ops(path)


ops_option = click.option(
    "--ops",
    type=FILE,
    multiple=True,
    expose_value=False,
    callback=_load_ops,
    help="A Python file with ops for layers of your own (docs/plugins.md).",
)
"""Loads plug-ins while the command line is read."""


def _remember_stub_unknown(
    context: click.Context, _option: click.Parameter, chosen: bool
) -> None:
    context.meta[_STUB_UNKNOWN] = chosen


input_shape_option = click.option(
    "--input-shape",
    "input_shapes",
    multiple=True,
    metavar="BLOB=N,C,H,W",
    callback=lambda _context, _option, values: dict(map(_shape, values)),
    help="The shape of a blob that stands nowhere: of a data layer whose data is not "
    "here, or of a layer that is left for you to write.",
)

stub_unknown_option = click.option(
    "--stub-unknown",
    is_flag=True,
    expose_value=False,
    callback=_remember_stub_unknown,
    help="Leave layers of unknown types for you to write, in custom_layers.py.",
)


phase_option = click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"]),
    help="One phase alone. Default: both for a net with data or losses, TRAIN if all "
    "of its data is for TRAIN, TEST for a net with neither.",
)


def net_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that lowers a net, of whichever phase."""
    return phase_option(model_options(command))


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that lowers a net."""
    for option in (
        click.option(
            "--data-format",
            type=click.Choice(["channels_last", "channels_first"]),
            default="channels_last",
            show_default=True,
            help="Where the Keras model has its channels.",
        ),
        input_shape_option,
        stub_unknown_option,
        ops_option,
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
    stub_unknown = click.get_current_context().meta.get(_STUB_UNKNOWN, False)
    return Options(chosen, data_format, input_shapes, strict, stub_unknown=stub_unknown)
