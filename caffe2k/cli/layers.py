"""`caffe2k layers`: what can be translated, and how large the layers of a net are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffe2k.cli.arguments import (
    FILE,
    chosen_options,
    input_shape_option,
    ops_option,
    stub_unknown_option,
)
from caffe2k.cli.columns import echo_columns, shape_text
from caffe2k.cli.report import diagnosed

if TYPE_CHECKING:
    from caffe2k.layer_sizes import NetSizes


@click.command()
@click.option("--net", type=FILE, help="A net, or a solver that names one.")
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"]),
    help="The phase of the net. Default: TEST.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@input_shape_option
@stub_unknown_option
@ops_option
def layers(
    net: Path | None,
    phase: str | None,
    as_json: bool,
    input_shapes: dict[str, tuple[int, ...]],
) -> None:
    """Lists the layer types that are known, or a net's layers.

    \b
    Examples:
      caffe2k layers
      caffe2k layers --net deploy.prototxt
      caffe2k layers --net train_val.prototxt --phase TRAIN --input-shape data=64,3,227,227

    With --net: the shapes of each layer's tops and parameters as Caffe has them, batch
    first, and its multiply-adds in one forward pass over the batch. Those are the
    products of weights in Convolution, Deconvolution, InnerProduct and recurrent layers;
    other layers and biases count as none. Nothing is translated, so a layer with an
    option that Keras lacks has its sizes too.
    """
    if net is None:
        if phase or as_json or input_shapes:
            raise click.UsageError("That option is about --net, which is not given.")
        _list_types()
        return
    with diagnosed():
        from caffe2k.layer_sizes import layer_sizes

        options = chosen_options(phase, "channels_last", input_shapes, strict=False)
        sizes = layer_sizes(net, options)
    if as_json:
        click.echo(json.dumps(sizes.as_json(), indent=2))
    else:
        _print_table(sizes)


def _list_types() -> None:
    from caffe2k.ops import registered_ops

    ops = registered_ops()
    width = max(map(len, ops))
    for name in sorted(ops):
        click.echo(f"{name:{width}}  {ops[name].keras}")


def _print_table(sizes: NetSizes) -> None:
    rows = [
        (
            layer.name,
            layer.type,
            ", ".join(f"{top} {shape_text(s)}" for top, s in layer.tops.items()),
            ", ".join(map(shape_text, layer.params)),
            f"{layer.macs:,}" if layer.macs else "",
        )
        for layer in sizes.layers
    ]
    header = ("layer", "type", "tops", "parameters", "multiply-adds")
    echo_columns(header, rows, numbers=1)
    total = f"{sizes.values:,} parameters, {sizes.macs:,} multiply-adds"
    if sizes.batch and sizes.batch > 1 and sizes.macs:
        total += f" ({sizes.macs / sizes.batch:,.0f} for each of {sizes.batch})"
    number = len(sizes.layers)
    click.echo(f"\n{number} layer{'' if number == 1 else 's'}, {total}")
