"""The command line; the only part that prints or exits. One command a module."""

from __future__ import annotations

from importlib import import_module

import click

from caffe2k import __version__
from caffe2k.diagnostics import did_you_mean

COMMANDS = (
    "data",
    "diff",
    "inspect",
    "layers",
    "solverstate",
    "test",
    "time",
    "train",
    "translate",
    "upgrade",
    "verify",
    "weights",
)
"""Each is the function of that name in the module of that name."""


class _Commands(click.Group):
    """Imports a command when it is asked for: the others cost no time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"caffe2k.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and (hint := did_you_mean(args[0], COMMANDS)):
            ctx.fail(f"No such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="caffe2k")
def main() -> None:
    """Turns Caffe projects into Keras projects that train the same."""
