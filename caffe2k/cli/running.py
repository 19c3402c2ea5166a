"""Runs of Caffe: its flags, the translation in a cache, and the script that is run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from caffe2k.cli.arguments import FILE
from caffe2k.cli.report import diagnosed, show
from caffe2k.shell.flags import (
    ACTIONS,
    LOGGING,
    LOGGING_SWITCHES,
    CaffeRun,
    Given,
    check_flags,
)

_HELP = {
    "solver": ("FILE", "The solver."),
    "model": ("FILE", "The net."),
    "weights": ("FILE,...", "The .caffemodel files to start from, or .keras files."),
    "snapshot": ("FILE", "The .solverstate to go on from, or a .keras file."),
    "gpu": ("0,1|all", "The GPUs to use."),
    "iterations": ("N", "How many batches; 50 if it is not given."),
    "phase": ("TRAIN|TEST", "The net's phase; TRAIN if it is not given."),
    "level": ("N", "The net's level."),
    "stage": ("NAME,...", "The net's stages."),
    "sigint_effect": ("stop|snapshot|none", "What SIGINT (Ctrl-C) does."),
    "sighup_effect": ("snapshot|stop|none", "What SIGHUP does."),
}


class CaffeCommand(click.Command):
    """A command that takes flags as gflags does: with one dash or two.

    Flags of glog, which say where Caffe's log goes, are left out. What stands behind `--`
    becomes the parameter `arguments`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.params["arguments"] = tuple(args[end + 1 :])
        return super().parse_args(ctx, list(self._spelled_out(args[:end], ctx)))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- ARGUMENTS]"]

    def _spelled_out(self, args: Sequence[str], ctx: click.Context) -> Iterator[str]:
        flags = {name for param in self.get_params(ctx) for name in param.opts}
        rest = list(args)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.lstrip("-").partition("=")
            if not word.startswith("-"):
                yield word
            elif name.removeprefix("no") in LOGGING_SWITCHES:
                continue
            elif name in LOGGING:
                rest = rest if equals else rest[1:]
            elif f"--{name}" in flags:
                yield f"--{name}{equals}{value}"
            elif word.startswith("--") or word[:2] in flags:
                yield word
            else:
                # One dash is for letters in click, which would complain of the first.
                yield f"-{word}"


def caffe_command(action: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command with the flags of `caffe <action>`, and those that say where to."""

    def decorate(function: Callable[..., None]) -> click.Command:
        command: Callable[..., None] = function
        for option in (
            click.option(
                "--force", is_flag=True, help="Write into a folder that exists."
            ),
            click.option(
                "-o",
                "--output",
                type=FILE,
                help="The new folder; else one in the cache.",
            ),
            *(
                click.option(f"--{flag}", metavar=_HELP[flag][0], help=_HELP[flag][1])
                for flag in reversed(ACTIONS[action])
            ),
        ):
            command = option(command)
        return click.command(action, cls=CaffeCommand)(command)

    return decorate


def run_caffe(
    action: str,
    flags: Mapping[str, str | None],
    script: str,
    output: Path | None,
    force: bool,
    arguments: Sequence[str],
) -> None:
    """Translates a run and makes it; ends with the exit code of the script."""
    if force and output is None:
        raise click.UsageError("--force is about -o, which is not given.")
    given = {name: Given(text) for name, text in flags.items() if text is not None}
    run = CaffeRun(action, given)
    with diagnosed():
        from caffe2k.diagnostics import Diagnostics
        from caffe2k.translation import translate

        diagnostics = Diagnostics()
        check_flags(run, diagnostics)
        diagnostics.raise_if_errors()
        run, arguments = _trained_in_keras(run, arguments)
        translation = translate(run, output=output)
        if translation.warnings:
            show(translation.warnings)
        folder = output or _cache() / f"{translation.name}-{translation.digest()[:16]}"
        if output is not None or not folder.exists():
            translation.write(folder, force=force)
    click.echo(f"{os.fspath(folder / script)}", err=True)
    if action == "train" and not any(a.startswith("--log") for a in arguments):
        arguments = ["--log", "caffe", *arguments]
    root = {} if output else {"CAFFE_DATA_ROOT": os.path.abspath(translation.root)}
    environment = {**root, **os.environ}
    sys.exit(_run([str(folder / script), *arguments], environment, _effects(run)))


def _trained_in_keras(
    run: CaffeRun, arguments: Sequence[str]
) -> tuple[CaffeRun, Sequence[str]]:
    """A run without the .keras files that it names: they are the script's arguments."""
    for flag, option in (("weights", "--weights"), ("snapshot", "--resume")):
        names = run.names(flag)
        if names and all(n.endswith(".keras") and os.path.isfile(n) for n in names):
            others = {f: given for f, given in run.flags.items() if f != flag}
            run = replace(run, flags=others)
            arguments = [option, *names, *arguments]
    return run, arguments


def _cache() -> Path:
    """Where translations are kept: in the folder that the XDG standard names."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "caffe2k"


def _effects(run: CaffeRun) -> dict[str, str]:
    """Which signal goes to the script for each that arrives here, if any.

    train.py stops at SIGINT, and takes a snapshot at SIGHUP.
    """
    signals = {"stop": "SIGINT", "snapshot": "SIGHUP", "none": ""}
    return {
        "SIGINT": signals[run.text("sigint_effect") or "stop"],
        "SIGHUP": signals[run.text("sighup_effect") or "snapshot"],
        "SIGTERM": "SIGTERM",
    }


def _run(
    command: Sequence[str], environment: Mapping[str, str], effects: Mapping[str, str]
) -> int:
    """Runs a script with this Python, and passes signals on to it."""
    # In a session of its own, so that Ctrl-C reaches it once: from here.
    child = subprocess.Popen(
        [sys.executable, *command], env=environment, start_new_session=True
    )
    former = {
        number: signal.signal(number, _passed_on(child, effect))
        for name, effect in effects.items()
        if (number := getattr(signal, name, None)) is not None
    }
    try:
        code = _ended(child)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _ended(child: subprocess.Popen[bytes]) -> int:
    """Waits for the end of a script, and returns its exit code."""
    while True:
        # Without a time limit, a signal that another thread gets would wait with us.
        with suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=1)


def _passed_on(child: subprocess.Popen[bytes], effect: str) -> Callable[..., None]:
    def handle(number: int, frame: object) -> None:
        if effect:
            child.send_signal(getattr(signal, effect))

    return handle
