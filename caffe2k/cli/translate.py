"""`caffe2k translate`: a Keras project from a Caffe project."""

from __future__ import annotations

import os
from pathlib import Path

import click

from caffe2k.cli.arguments import FILE, chosen_options, net_options
from caffe2k.cli.report import diagnosed, show, show_coverage


@click.command()
@click.argument("net_or_solver", type=FILE)
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
    with diagnosed():
        from caffe2k.translation import translate as run

        translation = run(
            net_or_solver,
            solver=solver,
            weights=weights,
            options=chosen_options(phase, data_format, input_shapes, strict),
            allow_partial=allow_partial,
            output=output,
        )
        if translation.warnings:
            show(translation.warnings)
        if output is None:
            click.echo(translation.model, nl=False)
            return
        translation.write(output, force=force)
    if translation.coverage is not None:
        show_coverage(translation.coverage)
    click.echo(
        f"{os.fspath(output)}: {', '.join(sorted(translation.top_level_files()))}"
    )
