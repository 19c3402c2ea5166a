"""`caffe2k upgrade`: a prototxt in today's form."""

from __future__ import annotations

from pathlib import Path

import click

from caffe2k.cli.arguments import FILE
from caffe2k.cli.report import diagnosed, show


@click.command()
@click.argument("file", type=FILE)
def upgrade(file: Path) -> None:
    """Prints a net or solver in today's form.

    V0 and V1 layers and deprecated fields become what they are called now.

    \b
    Example:
      caffe2k upgrade old_train_val.prototxt > train_val.prototxt
    """
    with diagnosed():
        from caffe2k.diagnostics import Diagnostics
        from caffe2k.prototxt import read, to_prototxt
        from caffe2k.prototxt import upgrade as bring_up_to_date

        diagnostics = Diagnostics()
        message = read(file, diagnostics)
        diagnostics.raise_if_errors()
        upgraded = bring_up_to_date(message, diagnostics)
        diagnostics.raise_if_errors()
        if diagnostics.warnings:
            show(diagnostics.warnings)
        click.echo(to_prototxt(upgraded), nl=False)
