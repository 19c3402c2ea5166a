"""Files that appear whole or not at all, however the process that writes them ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from caffe2k.weights.errors import WeightsError

OnProgress = Callable[[int, int], None]
"""Called with the bytes written so far and the bytes to write."""


@contextmanager
def whole_file(path: Path, *, force: bool) -> Iterator[Path]:
    """The path of an empty file beside `path`, which takes its place at the end.

    Raises WeightsError if `path` exists and not `force`, or if it can't be written: a
    folder or a device never is.
    """
    if path.exists() and not path.is_file():
        raise WeightsError(
            "output-unwritable",
            f"can't write `{path}`: it exists, and is not a file",
            help="give the name of a file that may be made or replaced",
        )
    if path.exists() and not force:
        raise WeightsError(
            "output-exists", f"`{path}` exists", help="overwrite it with --force"
        )
    temporary = path.with_name(f".caffe2k-{uuid4().hex}.tmp")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(
            "output-unwritable",
            f"can't write `{path}`: {reason}",
            help="its folder must exist, and be yours to write to",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
