"""Maps a binary file into memory, and says what a file is that isn't one."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from caffe2k.weights.errors import WeightsError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_HEAD_BYTES = 4096
_LFS_MAGIC = b"version https://git-lfs.github.com/spec/"
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7-zip",
}
_TEXT_CONTROLS = frozenset(b"\t\n\v\f\r")


def map_file(path: Path) -> memoryview:
    """The bytes of a binary file, mapped and not read.

    The view, and every array made from it, keeps the mapping alive. The file must not
    be cut short while it is mapped.

    Raises WeightsError for a file that can't be read or is plainly something else: empty,
    a Git LFS pointer, a web page, text, compressed.
    """
    if path.exists() and not path.is_file():
        raise WeightsError(
            "file-unreadable",
            f"can't read `{path}`: not a file",
            help="give the path of the file itself",
        )
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise WeightsError(
                    "file-empty",
                    f"`{path}` is empty",
                    help="the download or copy failed; fetch it again",
                )
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise WeightsError(
            "file-missing",
            f"there is no file `{path}`",
            help="a relative path starts in the working directory",
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(
            "file-unreadable",
            f"can't read `{path}`: {reason}",
            help="check its permissions",
        ) from None
    _refuse_foreign(path, mapped[:_HEAD_BYTES])
    return memoryview(mapped)


def _refuse_foreign(path: Path, head: bytes) -> None:
    if head.startswith(_LFS_MAGIC):
        raise WeightsError(
            "file-is-lfs-pointer",
            f"`{path}` is a Git LFS pointer, not the file itself",
            help="run `git lfs pull` in its repository",
        )
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise WeightsError(
            "file-is-html",
            f"`{path}` is a web page",
            help="it was saved from a link to a page; download the file itself",
        )
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            raise WeightsError(
                "file-is-compressed",
                f"`{path}` is a {kind} archive",
                help="unpack it first",
            )
    if _is_text(head):
        raise WeightsError(
            "file-is-text",
            f"`{path}` is a text file",
            help="this is the place for a binary file; is it the prototxt?",
        )


def _is_text(head: bytes) -> bool:
    if any(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in head):
        return False
    # The head may end within a character, which is at most four bytes long.
    text = head.decode("utf-8", errors="ignore")
    return len(head) - len(text.encode("utf-8")) < 4
