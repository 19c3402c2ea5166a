"""`caffe2k verify`: proof that the Keras model computes what Caffe does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffe2k.cli.arguments import FILE, chosen_options, model_options
from caffe2k.cli.report import FAILED, diagnosed

if TYPE_CHECKING:
    from caffe2k.verification import Verdict


@click.command()
@click.argument("net", type=FILE)
@click.argument("weights", type=FILE)
@click.option(
    "--reference",
    type=FILE,
    help="Blobs that Caffe itself computed (.npz). Default: OpenCV runs the net.",
)
@click.option(
    "--recipe",
    is_flag=True,
    help="Print the lines of pycaffe that dump the blobs for --reference, and end.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-4,
    show_default=True,
    help="The largest error, max|a - b| / max(1, max|b|), that counts as equal.",
)
@model_options
def verify(
    net: Path,
    weights: Path,
    reference: Path | None,
    recipe: bool,
    tolerance: float,
    data_format: str,
    input_shapes: dict[str, tuple[int, ...]],
) -> None:
    """Compares every blob with that of a Caffe runtime.

    The TEST net is compared: what TRAIN adds is random.

    \b
    Examples:
      caffe2k verify deploy.prototxt lenet.caffemodel
      caffe2k verify deploy.prototxt lenet.caffemodel --recipe > dump.py
      caffe2k verify deploy.prototxt lenet.caffemodel --reference blobs.npz

    Exit code 0: all blobs agree. 1: one does not, or nothing could be compared.
    """
    with diagnosed("nothing was compared"):
        from caffe2k import verification

        if recipe:
            click.echo(verification.recipe(net, weights), nl=False)
            return
        verdict = verification.verify(
            net,
            weights,
            reference=reference,
            options=chosen_options("TEST", data_format, input_shapes, strict=False),
            tolerance=tolerance,
        )
    _show(verdict)
    if not verdict.agrees:
        sys.exit(FAILED)


def _show(verdict: Verdict) -> None:
    width = max((len(e.blob) for e in verdict.errors), default=0)
    for e in verdict.errors:
        shape = "x".join(map(str, e.shape)) or "1"
        mark = "" if e.error <= verdict.tolerance else "  differs"
        click.echo(f"{e.blob:{width}}  {shape:>16}  {e.error:8.1e}{mark}")
    if verdict.not_compared:
        click.echo(f"\nnot compared: {', '.join(verdict.not_compared)}")
    first = verdict.first_difference
    if not verdict.errors:
        click.echo("nothing could be compared: no blob is on both sides")
    elif first is None:
        worst = max(e.error for e in verdict.errors)
        click.echo(
            f"\nthe same as {verdict.reference}: {len(verdict.errors)} blobs, "
            f"largest error {worst:.1e} (tolerance {verdict.tolerance:.0e})"
        )
    else:
        click.echo(
            f"\nnot the same as {verdict.reference}: `{first.blob}` is the first blob "
            f"that differs, by {first.error:.1e} (tolerance {verdict.tolerance:.0e})"
        )
