"""`caffe2k weights`: a caffemodel for the Keras model of a net."""

from __future__ import annotations

from pathlib import Path

import click

from caffe2k.cli.arguments import FILE, chosen_options, net_options
from caffe2k.cli.report import diagnosed, progress, show_coverage


@click.command()
@click.argument("net", type=FILE)
@click.argument("caffemodel", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="The .h5 file to write.")
@net_options
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
    with diagnosed():
        from caffe2k.translation import port_weights

        with progress(caffemodel.name) as advance:
            coverage = port_weights(
                net,
                caffemodel,
                output,
                options=chosen_options(phase, data_format, input_shapes, strict=False),
                allow_partial=allow_partial,
                force=force,
                on_progress=advance,
            )
    show_coverage(coverage)
