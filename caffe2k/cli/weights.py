"""`caffe2k weights`: weights of Caffe for Keras, for NumPy, and back for Caffe."""

from __future__ import annotations

from pathlib import Path

import click

from caffe2k.cli.arguments import FILE, chosen_options, net_options
from caffe2k.cli.report import diagnosed, progress, show, show_coverage

_FORMATS = ("h5", "weights.h5", "npz", "safetensors", "caffemodel", "caffemodel.h5")


@click.command()
@click.argument("net", type=FILE)
@click.argument("weights_file", metavar="[WEIGHTS]", type=FILE, required=False)
@click.option("-o", "--output", type=FILE, required=True, help="The file to write.")
@click.option(
    "--to",
    type=click.Choice(_FORMATS),
    help="What to write. Default: what the name of the output says, else h5.",
)
@net_options
@click.option(
    "--allow-partial", is_flag=True, help="Accept weights for only some layers."
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def weights(
    net: Path,
    weights_file: Path | None,
    output: Path,
    to: str | None,
    phase: str | None,
    data_format: str,
    input_shapes: dict[str, tuple[int, ...]],
    allow_partial: bool,
    force: bool,
) -> None:
    """Ports weights between Caffe and Keras.

    WEIGHTS is a .caffemodel, binary or HDF5, or what the Keras model of the NET has
    saved: .h5, .weights.h5 or .keras. Without it, NET is a .caffemodel, which carries
    its net.

    \b
    Examples:
      caffe2k weights deploy.prototxt lenet.caffemodel -o lenet.h5
      caffe2k weights deploy.prototxt lenet.caffemodel -o lenet.weights.h5
      caffe2k weights lenet.caffemodel -o lenet.npz
      caffe2k weights deploy.prototxt tuned.keras -o tuned.caffemodel

    \b
    What is written:
      h5             model.load_weights(path, by_name=True), into any model
      weights.h5     model.load_weights(path), into the translated model
      npz            Caffe's arrays, called layer/0, layer/1, ...
      safetensors    the same
      caffemodel     for Caffe, with the net in it
      caffemodel.h5  for Caffe, as snapshot_format: HDF5 writes it
    """
    with diagnosed():
        from caffe2k.porting import port_weights

        with progress(output.name) as advance:
            porting = port_weights(
                net,
                weights_file,
                output,
                to=to,
                options=chosen_options(phase, data_format, input_shapes, strict=False),
                allow_partial=allow_partial,
                force=force,
                on_progress=advance,
            )
    if porting.warnings:
        show(porting.warnings)
        click.echo(err=True)
    show_coverage(porting.coverage)
