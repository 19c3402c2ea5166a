"""Which run of Caffe a shell script is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from caffe2k.diagnostics import Diagnostics, SourceFile
from caffe2k.shell.flags import (
    ACTIONS,
    CaffeRun,
    Given,
    caffe_flags,
    check_flags,
    is_old_tool,
    old_tool_flags,
)
from caffe2k.shell.scan import RawWord, commands
from caffe2k.shell.variables import Variables, Word

_OPENING = {"if", "for", "while", "until", "case", "select"}
_CLOSING = {"fi", "done", "esac"}
_KEYWORDS = {"then", "else", "elif", "do", "!", "{", "}"} | _OPENING | _CLOSING
_SETTERS = {"export", "declare", "local", "readonly", "typeset", "set"}
_PRINTERS = {"echo", "printf", "#"}
_PARALLEL = {"mpirun", "mpiexec", "srun"}
_CAFFE = re.compile(r"caffe(-d)?|\$\{?\w*caffe\w*\}?", re.IGNORECASE)


def is_script(path: Path) -> bool:
    """Whether a file is a shell script, by its name or its first two characters."""
    if path.suffix in (".sh", ".bash"):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


@dataclass(frozen=True)
class ScriptRun:
    """A run of Caffe, and the folder below the script's own that it happens in.

    `findings` are about its command alone.
    """

    run: CaffeRun
    folder: str
    findings: Diagnostics


def read_script(
    source: SourceFile, environment: Mapping[str, str], diagnostics: Diagnostics
) -> ScriptRun | None:
    """The first training in a script; without one, the first test or timing.

    The script is read from its top, and nothing of it is run. Other runs are named in a
    warning. None, and an error, where the script runs no Caffe.
    """
    found = list(_Reader(source, environment, diagnostics).runs())
    if not found:
        diagnostics.error(
            "script-without-caffe",
            f"`{source.name}` does not run caffe train, test or time",
            help="give the solver that it trains with",
        )
        return None
    chosen = min(found, key=lambda each: list(ACTIONS).index(each.run.action))
    for other in found:
        if other is not chosen:
            diagnostics.warning(
                "other-caffe-run",
                f"only the `caffe {chosen.run.action}` in line "
                f"{_line(chosen)} is translated, not this `caffe {other.run.action}`",
                other.run.span,
                help="give its own solver or net, to translate that too",
            )
    if not diagnostics.has_errors:
        check_flags(chosen.run, chosen.findings)
    diagnostics.extend(chosen.findings)
    return chosen


def _line(found: ScriptRun) -> int:
    assert found.run.span is not None
    return found.run.span.line


@dataclass
class _Reader:
    """Goes through a script with its variables, working directory, and open blocks."""

    source: SourceFile
    environment: Mapping[str, str]
    diagnostics: Diagnostics
    folder: str = "."
    depth: int = 0
    variables: Variables = field(init=False)

    def __post_init__(self) -> None:
        self.variables = Variables(self.environment)

    def runs(self) -> Iterator[ScriptRun]:
        for words in commands(self.source, self.diagnostics):
            findings = Diagnostics()
            found = self._command(self._without_keywords(words), findings)
            if found is not None:
                yield ScriptRun(found, self.folder, findings)

    def _without_keywords(self, words: list[RawWord]) -> list[RawWord]:
        while words and (keyword := _bare(words[0])) in _KEYWORDS:
            self.depth += (keyword in _OPENING) - (keyword in _CLOSING)
            words = words[1:]
            if keyword in ("for", "select") and words:
                self.variables.put(_bare(words[0]), None)
                return []
        return words

    def _command(self, words: list[RawWord], findings: Diagnostics) -> CaffeRun | None:
        while words and (
            _bare(words[0]) in _SETTERS
            or self.variables.assign(words[0], certain=self.depth == 0)
        ):
            words = words[1:]
        expanded = [word for raw in words for word in self.variables.expand(raw)]
        if not expanded:
            return None
        first = expanded[0].text
        if first == "read":
            for word in expanded[1:]:
                self.variables.put(word.text, None)
        elif first == "cd" and len(expanded) == 2 and not expanded[1].unknown:
            self.folder = str(PurePosixPath(self.folder, expanded[1].text))
        elif first not in _PRINTERS:
            return self._caffe(expanded, findings)
        return None

    def _caffe(self, words: Sequence[Word], findings: Diagnostics) -> CaffeRun | None:
        for index, word in enumerate(words):
            tool = _tool(word.text)
            found: tuple[str, dict[str, Given]] | None = None
            if is_old_tool(tool):
                found = old_tool_flags(tool, words[index + 1 :])
            elif _CAFFE.fullmatch(tool):
                found = _action(words[index + 1 :], findings)
            if found is not None:
                _check_launcher(words[:index], findings)
                place = f"{PurePosixPath(self.source.name).name}:{word.span.line}"
                return CaffeRun(*found, place, word.span)
        return None


def _action(
    words: Sequence[Word], findings: Diagnostics
) -> tuple[str, dict[str, Given]] | None:
    """Action and flags behind `caffe`; None where it is not one that is followed."""
    if not any(word.text in ACTIONS for word in words):
        return None
    arguments, flags = caffe_flags(words, findings)
    action = next((word.text for word in arguments if word.text in ACTIONS), None)
    if action is None:
        return None
    for word in arguments:
        if word.text != action:
            _report_argument(action, word, findings)
    return action, flags


def _report_argument(action: str, word: Word, findings: Diagnostics) -> None:
    if word.text == word.unknown:
        findings.warning(
            "shell-argument",
            f"what `{word.unknown}` holds is not known here, and left out",
            word.span,
            help="write out the flags in it, if there are any",
        )
    else:
        findings.error(
            "caffe-argument",
            f"`caffe {action}` takes no argument `{word.text}`",
            word.span,
            help=f"did you mean --{ACTIONS[action][0]}={word.text}?",
        )


def _check_launcher(before: Sequence[Word], findings: Diagnostics) -> None:
    for word in before:
        if _tool(word.text) in _PARALLEL:
            findings.warning(
                "parallel-caffe",
                f"`{_tool(word.text)}` starts several processes; this trains in one",
                word.span,
                help="several GPUs of one machine: train.py --gpus 0,1",
            )


def _bare(raw: RawWord) -> str:
    """A word without quotes and variables; empty for any other."""
    if len(raw.parts) != 1 or raw.parts[0].quoted or raw.parts[0].kind != "text":
        return ""
    return raw.parts[0].text


def _tool(text: str) -> str:
    """The name of a program, without its folder and ending."""
    name = text.rpartition("/")[2]
    for ending in (".bin", ".exe"):
        name = name.removesuffix(ending)
    return name
