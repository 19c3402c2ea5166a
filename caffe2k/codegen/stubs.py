"""custom_layers.py and custom_data.py: classes that the user has to write.

They are stubs for layers that can't be translated. A user fills them in, so neither file
is ever written over.
"""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caffe2k.codegen.literals import literal, prose
from caffe2k.codegen.names import Names
from caffe2k.codegen.program import Target
from caffe2k.codegen.templates import render as render_template
from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Shape

LAYERS = "custom_layers"
DATA = "custom_data"

KEPT = (f"{LAYERS}.py", f"{DATA}.py")
"""The files of an output that stay as they are once they are there."""


@dataclass(frozen=True)
class Origin:
    """What a stub stands for: `module.layer` of a Python layer, or a type of Caffe."""

    name: str
    is_python: bool

    @property
    def class_name(self) -> str:
        """The last word of the name, as a Python class."""
        word = self.name.rpartition(".")[2]
        plain = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
        safe = re.sub(r"\W+", "_", plain).strip("_")[:60]
        usable = safe.isidentifier() and not keyword.iskeyword(safe)
        return safe if usable else f"Layer{safe}"

    def __str__(self) -> str:
        what = "Python layer" if self.is_python else "layer type"
        return f"the {what} {prose(self.name)}"


@dataclass(frozen=True)
class Use:
    """A layer that a stub stands for: its name, its place, and its blobs with shapes."""

    layer: str
    place: str
    bottoms: tuple[tuple[str, Shape | None], ...]
    tops: tuple[tuple[str, Shape | None], ...]

    def lines(self) -> Iterator[str]:
        """What a docstring says of it."""
        yield f"Layer {prose(self.layer)}, {prose(self.place.replace(':', ' line '))}:"
        for word, blobs in (("bottom", self.bottoms), ("top", self.tops)):
            for name, shape in blobs:
                yield f"    {word} {prose(name)} {_shape_text(shape)}"


def _shape_text(shape: Shape | None) -> str:
    if shape is None:
        return "of unknown shape"
    return f"({', '.join('?' if dim is None else str(dim) for dim in shape)})"


@dataclass(eq=False)
class StubClass:
    """One class to write, for every layer of its origin."""

    name: str
    origin: Origin
    uses: dict[Use, None] = field(default_factory=dict)

    @property
    def parameter(self) -> str:
        """What the class calls the settings that the prototxt has for it."""
        return "param_str" if self.origin.is_python else "settings"

    @property
    def default(self) -> str:
        return literal("" if self.origin.is_python else None)

    @property
    def to_do(self) -> str:
        """What its user has to write, as string literals."""
        what = "call()" if any(use.bottoms for use in self.uses) else "__iter__()"
        parts = f"write {self.name}.{what}: ", f"it stands for {self.origin}"
        return " ".join(map(literal, parts))


@dataclass
class Stubs:
    """The classes of one of the two files."""

    module: str
    classes: dict[Origin, StubClass] = field(default_factory=dict)
    _names: Names = field(default_factory=lambda: Names({"keras"}))

    def use(self, origin: Origin, use: Use) -> Target:
        """The class that stands for an origin, which also has this use."""
        if origin not in self.classes:
            name = self._names.claim(origin.class_name)
            self.classes[origin] = StubClass(name, origin)
        stub = self.classes[origin]
        stub.uses[use] = None
        return Target(self.module, stub.name)

    def script(self) -> str:
        """The text of the file."""
        return render_template(f"{self.module}.py.j2", _Context(list(self)))

    def __iter__(self) -> Iterator[StubClass]:
        return iter(self.classes.values())

    def __bool__(self) -> bool:
        return bool(self.classes)

    def warn_if_missing(self, folder: Path, diagnostics: Diagnostics) -> None:
        """A warning where the file lies in `folder` already, and lacks some classes."""
        path = folder / f"{self.module}.py"
        if not self or not path.is_file():
            return
        missing = [s.name for s in self if s.name not in _classes(path)]
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            diagnostics.warning(
                "stub-missing",
                f"`{self.module}.py` is kept as it is, and has no class {names}",
                help="translate into a new folder, and copy the class from there",
            )


@dataclass(frozen=True)
class _Context:
    """The whole context of both templates."""

    stubs: list[StubClass]


def _classes(path: Path) -> set[str]:
    """The classes that a Python file defines; none if it is no Python."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return set()
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


@dataclass(frozen=True)
class StubReader:
    """A data layer whose reader the user writes. `settings` are what the layer says."""

    origin: Origin
    use: Use
    settings: Mapping[str, Any]

    @property
    def tops(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.use.tops)

    @property
    def shapes(self) -> list[Shape | None]:
        return [shape for _, shape in self.use.tops]
