"""README.md of the output: how to run it, what became of what, where it differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2k.codegen.flag_defaults import FlagDefaults
from caffe2k.codegen.literals import prose, target_text
from caffe2k.codegen.program import Program
from caffe2k.codegen.stubs import KEPT
from caffe2k.codegen.templates import render


@dataclass(frozen=True)
class Row:
    """One Keras layer and the Caffe layer that it stands for."""

    caffe: str
    keras: str
    call: str


@dataclass(frozen=True)
class Readme:
    """The whole context of templates/README.md.j2."""

    title: str
    net_name: str
    solver_name: str
    files: list[str]
    weights_files: list[str]
    defaults: FlagDefaults
    rows: list[Row]
    loss_rows: list[Row]
    inputs: list[str]
    warnings: list[str]
    channels_last: bool
    has_runtime: bool


def readme(
    program: Program,
    *,
    net_name: str,
    solver_name: str,
    files: Sequence[str],
    weights_files: Sequence[str],
    defaults: FlagDefaults,
    warnings: Sequence[str],
    channels_last: bool,
) -> str:
    """The text of README.md; `files` are those of the output."""
    rows = [
        Row(
            code(layer.caffe_name),
            code(layer.name or ""),
            code(target_text(layer.call.target)),
        )
        for layer in program.layers()
    ]
    return render(
        "README.md.j2",
        Readme(
            title=prose(program.name) or "A Caffe net",
            net_name=prose(net_name),
            solver_name=prose(solver_name),
            files=sorted(files),
            weights_files=list(weights_files),
            defaults=defaults,
            rows=rows,
            loss_rows=[
                Row(
                    code(t.caffe_name), code(t.output), code(target_text(t.call.target))
                )
                for t in program.terms
            ],
            inputs=[code(i.name) for i in program.inputs],
            warnings=list(warnings),
            channels_last=channels_last,
            has_runtime=not {*files} <= {"model.py", *KEPT}
            or any(call.target.is_runtime for call in program.calls()),
        ),
    )


def code(text: str) -> str:
    """A name as Markdown code in a table, whatever stands in it."""
    if not text:
        return ""
    clean = "".join(c if c.isprintable() and c not in "`|" else "?" for c in text)
    return f"`{clean if len(clean) <= 80 else clean[:77] + '...'}`"
