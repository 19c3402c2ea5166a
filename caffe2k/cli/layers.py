"""`caffe2k layers`: what can be translated."""

from __future__ import annotations

import click


@click.command()
def layers() -> None:
    """Lists the layer types that can be translated, and what they become."""
    from caffe2k.ops import registered_ops

    ops = registered_ops()
    width = max(map(len, ops))
    for name in sorted(ops):
        click.echo(f"{name:{width}}  {ops[name].keras}")
