"""Where the files lie that a prototxt names."""

from __future__ import annotations

import os
from pathlib import Path


def find_beside(named: str, folder: Path) -> Path | None:
    """A path that a prototxt names, from the folder that Caffe was run in.

    That is the working directory, the prototxt's folder, or one above it: Caffe's own
    examples name their nets from the root of the repository.
    """
    for start in (folder, *folder.absolute().parents, Path()):
        candidate = start / named
        if os.path.isfile(candidate):
            return candidate
    return None


def database_name(source: str) -> str:
    """The name of a database's folder, whatever system its path was written on."""
    return source.replace("\\", "/").rstrip("/").rpartition("/")[2]
