"""What a prototxt says before its schema is known: fields, values, places, comments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

ScalarKind = Literal["NAME", "NUMBER", "STRING", "MISSING"]


@dataclass(slots=True)
class Scalar:
    """A name, a number or adjacent strings, as written; MISSING where a mistake stood."""

    kind: ScalarKind
    texts: tuple[str, ...]
    start: int
    end: int
    negative: bool = False

    @property
    def text(self) -> str:
        """As written, but without what separates its parts."""
        return ("-" if self.negative else "") + " ".join(self.texts)


@dataclass(slots=True)
class Block:
    """The fields between two braces, or of a whole file."""

    fields: list[Field]
    start: int
    end: int
    complete: bool = True
    """False where the closing brace is missing."""
    closing_comments: tuple[str, ...] = ()
    """The comments below the last field."""


@dataclass(slots=True)
class Items:
    """The values of a list in square brackets."""

    values: Sequence[Scalar | Block]
    start: int
    end: int


Value: TypeAlias = Scalar | Block | Items


@dataclass(slots=True)
class Field:
    """A name with its value; `start` and `end` are those of the name.

    `comments` stand on the lines directly above it, `detached` further up and set apart
    by a blank line, `trailing` on its own line.
    """

    name: str
    start: int
    end: int
    value: Value
    colon: bool
    comments: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()
    trailing: str = ""
