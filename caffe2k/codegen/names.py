"""Unique names that Keras accepts for layers, and Python for variables."""

from __future__ import annotations

import keyword
import re
import unicodedata

_MOST = 100


class Names:
    """Hands out names, each once."""

    def __init__(self, taken: set[str] | None = None) -> None:
        self._taken = {name.lower() for name in taken or ()}

    def claim(self, name: str) -> str:
        """`name`, or with a number behind it where it is taken."""
        unique, number = name, 1
        while unique.lower() in self._taken:
            number += 1
            unique = f"{name}_{number}"
        self._taken.add(unique.lower())
        return unique


def keras_name(name: str) -> str:
    """A Caffe layer name as Keras takes it: `inception_3a/1x1` -> `inception_3a_1x1`.

    Keras refuses `/`; HDF5 groups, TensorBoard and shells dislike the rest.
    """
    safe = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)[:_MOST] or "model"
    return safe if re.match(r"[A-Za-z0-9]", safe) else f"layer{safe}"


def python_name(name: str) -> str:
    """A blob name as a Python variable: `inception_3a/1x1` -> `inception_3a_1x1`."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = re.sub(r"\W+", "_", ascii_only).strip("_")[:_MOST].lower()
    if not safe or safe[0].isdigit():
        safe = f"blob_{safe}" if safe else "blob"
    return (
        f"{safe}_" if keyword.iskeyword(safe) or keyword.issoftkeyword(safe) else safe
    )
