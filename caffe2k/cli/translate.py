"""`caffe2k translate`: a Keras project from a Caffe project."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from caffe2k.cli.arguments import FILE, chosen_options, net_options
from caffe2k.cli.report import diagnosed, show, show_coverage


@click.command()
@click.argument("net_or_solver", type=FILE, metavar="NET|SOLVER|SCRIPT")
@click.option("--solver", type=FILE, help="The solver, where a net is given.")
@click.option("--weights", type=FILE, help="A .caffemodel to port along.")
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Accept weights that cover only some layers, as for fine-tuning.",
)
@net_options
@click.option(
    "-o", "--output", type=FILE, help="The new folder; else model.py is printed."
)
@click.option(
    "--tfrecord",
    type=FILE,
    metavar="FOLDER",
    help="Read databases as shards: FOLDER/train_lmdb for a train_lmdb anywhere.",
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
    tfrecord: Path | None,
    force: bool,
    strict: bool,
) -> None:
    """Translates a net, a solver or a train.sh to Keras.

    \b
    Examples:
      caffe2k translate deploy.prototxt
      caffe2k translate solver.prototxt -o keras
      caffe2k translate solver.prototxt --weights lenet.caffemodel -o keras
      caffe2k translate train_val.prototxt --solver solver.prototxt -o keras
      caffe2k translate train_val.prototxt --ops my_ops.py --stub-unknown -o keras
      caffe2k translate train.sh -o keras
      caffe2k translate lenet.caffemodel -o keras

    Of a shell script, the first `caffe train` is translated: its solver, the weights
    that it starts from, and its other flags as the defaults of train.py.
    """
    if allow_partial and weights is None:
        raise click.UsageError(
            "--allow-partial is about --weights, which is not given."
        )
    if weights is not None and output is None:
        raise click.UsageError("--weights are ported into a folder: give it with -o.")
    if tfrecord is not None and output is None:
        raise click.UsageError("--tfrecord is about data.py: give a folder with -o.")
    if force and output is None:
        raise click.UsageError("--force is about -o, which is not given.")
    with diagnosed():
        from caffe2k.translation import translate as run

        options = chosen_options(phase, data_format, input_shapes, strict)
        translation = run(
            net_or_solver,
            solver=solver,
            weights=weights,
            options=replace(options, tfrecord=tfrecord),
            allow_partial=allow_partial,
            output=output,
        )
        if translation.warnings:
            show(translation.warnings)
        if output is None:
            click.echo(translation.model, nl=False)
            return
        translation.write(output, force=force)
    for coverage in translation.ported.values():
        show_coverage(coverage)
    click.echo(
        f"{os.fspath(output)}: {', '.join(sorted(translation.top_level_files()))}"
    )
