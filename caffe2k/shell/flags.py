"""Caffe's flags: what gflags makes of the words behind `caffe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from caffe2k.diagnostics import Diagnostics, SourceSpan, did_you_mean
from caffe2k.shell.variables import Word

ACTIONS: dict[str, tuple[str, ...]] = {
    "train": (
        "solver",
        "weights",
        "snapshot",
        "gpu",
        "level",
        "stage",
        "sigint_effect",
        "sighup_effect",
    ),
    "test": ("model", "weights", "gpu", "iterations", "level", "stage"),
    "time": ("model", "phase", "gpu", "iterations", "level", "stage"),
}
"""Each action of tools/caffe.cpp that is followed, and the flags that it reads."""

FLAGS = tuple(dict.fromkeys(flag for flags in ACTIONS.values() for flag in flags))

_NEEDED = {"train": ("solver",), "test": ("model", "weights"), "time": ("model",)}

_EFFECTS = ("snapshot", "stop", "none")
_CHOICES = {
    "phase": ("TRAIN", "TEST"),
    "sigint_effect": _EFFECTS,
    "sighup_effect": _EFFECTS,
}
_NUMBERS = ("iterations", "level")

LOGGING_SWITCHES = (
    "alsologtostderr",
    "colorlogtostderr",
    "log_prefix",
    "logtostderr",
    "stop_logging_if_full_disk",
)
LOGGING = (
    "log_backtrace_at",
    "log_dir",
    "log_link",
    "logbuflevel",
    "logbufsecs",
    "max_log_size",
    "minloglevel",
    "stderrthreshold",
    "v",
    "vmodule",
)
"""glog's flags, which say where Caffe's log goes, and nothing of what it computes."""

_OLD_TOOLS = {
    "train_net": ("train", ("solver", "snapshot")),
    "finetune_net": ("train", ("solver", "weights")),
    "test_net": ("test", ("model", "weights", "iterations")),
    "net_speed_benchmark": ("time", ("model", "iterations")),
}
"""The tools that `caffe` replaced, and the flags that their arguments became."""


@dataclass(frozen=True)
class Given:
    """What a flag is given, and where."""

    text: str
    span: SourceSpan | None = None


@dataclass(frozen=True)
class CaffeRun:
    """One run of Caffe: an action and its flags. `place` is `file:line` of a script."""

    action: str
    flags: Mapping[str, Given]
    place: str = ""
    span: SourceSpan | None = None

    def text(self, flag: str) -> str:
        """What a flag is given; empty where it is not, as gflags has it."""
        given = self.flags.get(flag)
        return "" if given is None else given.text

    def span_of(self, flag: str) -> SourceSpan | None:
        given = self.flags.get(flag)
        return self.span if given is None else given.span

    def names(self, flag: str) -> list[str]:
        """A list separated by commas."""
        return [name for name in self.text(flag).split(",") if name]

    def naming(self, flag: str, path: Path) -> CaffeRun:
        """The run with a flag that names its file from the working directory."""
        given = Given(str(path), self.span_of(flag))
        return replace(self, flags={**self.flags, flag: given})

    @property
    def iterations(self) -> int:
        return int(self.text("iterations") or 50)

    @property
    def level(self) -> int:
        return int(self.text("level") or 0)


def old_tool_flags(tool: str, words: Sequence[Word]) -> tuple[str, dict[str, Given]]:
    """Action and flags of `train_net solver [snapshot]` and the like.

    Behind those stand CPU or GPU, and the GPU's number (tools/*.cpp before version 1.0).
    """
    action, names = _OLD_TOOLS[tool]
    flags: dict[str, Given] = {}
    values = [word for word in words if word.text not in ("CPU", "GPU")]
    on_gpu = any(word.text == "GPU" for word in words)
    for name, word in zip_longest((*names, "gpu"), values[: len(names) + 1]):
        if word is not None and (name != "gpu" or on_gpu):
            flags[name] = Given(word.text, word.span)
    if on_gpu and "gpu" not in flags:
        flags["gpu"] = Given("0", words[-1].span)
    return action, flags


def is_old_tool(name: str) -> bool:
    return name in _OLD_TOOLS


def caffe_flags(
    words: Sequence[Word], diagnostics: Diagnostics
) -> tuple[list[Word], dict[str, Given]]:
    """The arguments and the flags among the words behind `caffe`.

    As gflags reads them: one dash or two, `--flag=value` or `--flag value`, the last of
    two wins. What Caffe has no flag for is an error.
    """
    arguments: list[Word] = []
    flags: dict[str, Given] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.text.startswith("-") or word.text in ("-", "--"):
            arguments.append(word)
            continue
        name, equals, value = word.text.lstrip("-").partition("=")
        if name.removeprefix("no") in LOGGING_SWITCHES:
            continue
        if not equals and name in (*FLAGS, *LOGGING):
            if not rest:
                diagnostics.error(
                    "caffe-flag-value",
                    f"`{word.text}` is given no value",
                    word.span,
                    help=f"write --{name}=VALUE",
                )
                continue
            following = rest.pop(0)
            value, word = following.text, following
        if name in FLAGS:
            flags[name] = Given(value, word.span)
            if word.unknown:
                _report_unknown(word, diagnostics)
        elif name not in LOGGING:
            diagnostics.error(
                "caffe-flag",
                f"`caffe` has no flag `{name}`",
                word.span,
                help=did_you_mean(name, FLAGS) or f"its flags are {', '.join(FLAGS)}",
            )
    return arguments, flags


def _report_unknown(word: Word, diagnostics: Diagnostics) -> None:
    diagnostics.error(
        "shell-variable",
        f"what `{word.unknown}` holds is not known here",
        word.span,
        help="write it out, or set it once in the script or in the environment",
    )


def check_flags(run: CaffeRun, diagnostics: Diagnostics) -> None:
    """Adds what tools/caffe.cpp would refuse, and flags that it would not look at."""
    for flag, given in run.flags.items():
        if flag not in ACTIONS[run.action]:
            diagnostics.warning(
                "caffe-flag-unused",
                f"`caffe {run.action}` does not look at `--{flag}`",
                given.span,
                help="remove it",
            )
        elif reason := _refused(flag, given.text):
            diagnostics.error(
                "caffe-flag-value",
                f"`--{flag}` must be {reason}, but is `{given.text}`",
                given.span,
                help=f"correct it, or remove --{flag}",
            )
    complete = not diagnostics.has_errors
    for flag in _NEEDED[run.action]:
        if complete and not run.text(flag):
            diagnostics.error(
                "caffe-flag-missing",
                f"`caffe {run.action}` needs `--{flag}`",
                run.span,
                help=f"add --{flag}=FILE",
            )
    if run.action == "train" and run.text("snapshot") and run.text("weights"):
        diagnostics.error(
            "snapshot-and-weights",
            "--snapshot and --weights exclude each other",
            run.span_of("weights"),
            help="resume from the snapshot, or fine-tune from the weights",
        )


def _refused(flag: str, text: str) -> str | None:
    """What the value of a flag must be, where it is not."""
    if flag in _CHOICES and text not in _CHOICES[flag]:
        return f"one of {', '.join(_CHOICES[flag])}"
    if flag in _NUMBERS:
        least, wanted = (
            (1, "a number above 0") if flag == "iterations" else (None, "a number")
        )
        return None if _is_number(text, least) else wanted
    if flag == "gpu" and text not in ("", "all"):
        numbers = all(_is_number(part, 0) for part in text.split(","))
        return None if numbers else "`all`, or numbers separated by commas"
    return None


def _is_number(text: str, least: int | None) -> bool:
    try:
        number = int(text)
    except ValueError:
        return False
    return least is None or number >= least
