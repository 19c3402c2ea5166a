"""`caffe2k diff`: where two files of weights differ."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from caffe2k.cli.arguments import FILE, chosen_options, net_options
from caffe2k.cli.columns import echo_columns, shape_text
from caffe2k.cli.report import progress, show
from caffe2k.diagnostics import TranslationError

_SAME, _DIFFERENT, _FAILED = 0, 1, 2


@click.command()
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@click.option(
    "--net",
    type=FILE,
    help="The net, where one file is Caffe's and one Keras's. Default: Caffe's file's.",
)
@click.option(
    "--atol",
    type=click.FloatRange(min=0),
    default=0.0,
    help="How far apart values may be. Default: 0.",
)
@net_options
def diff(
    a: Path,
    b: Path,
    net: Path | None,
    atol: float,
    phase: str | None,
    data_format: str,
    input_shapes: dict[str, tuple[int, ...]],
) -> None:
    """Tells where two files of weights differ. Each is of Caffe or of Keras.

    \b
    Examples:
      caffe2k diff lenet_iter_200.caffemodel lenet_iter_400.caffemodel
      caffe2k diff --atol 1e-6 lenet.caffemodel lenet.h5

    The exit code is 0 if they hold the same, 1 if they don't, 2 if that can't be told.
    """
    try:
        from caffe2k.porting import diff_weights

        options = chosen_options(phase, data_format, input_shapes, strict=False)
        with progress(f"{a.name}, {b.name}") as advance:
            found = diff_weights(
                a, b, net=net, options=options, atol=atol, on_progress=advance
            )
    except TranslationError as error:
        show(error.diagnostics)
        sys.exit(_FAILED)
    if not found:
        sys.exit(_SAME)
    rows = [
        (
            difference.layer,
            str(difference.index),
            *map(shape_text, difference.shapes),
            str(difference.values or ""),
            f"{difference.largest:.3g}" if difference.values else "",
        )
        for difference in found
    ]
    header = ("layer", "blob", a.name, b.name, "values", "largest")
    echo_columns(header, rows, numbers=2)
    sys.exit(_DIFFERENT)
