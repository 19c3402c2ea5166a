"""Renders the templates of emitted files; nothing else touches jinja2."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from caffe2k.codegen.literals import comment, literal, prose
from caffe2k.resources import template

if TYPE_CHECKING:
    import jinja2


def render(name: str, context: Any) -> str:
    """The template `name` filled from a dataclass, whose fields are its variables."""
    fields = {f.name: getattr(context, f.name) for f in dataclasses.fields(context)}
    return _environment().get_template(name).render(fields)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"literal": literal, "comment": comment, "prose": prose}
    return environment
