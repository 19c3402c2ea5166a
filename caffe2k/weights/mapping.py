"""Maps a binary file into memory, and says what a file is that isn't one."""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
import zlib
from pathlib import Path

from caffe2k.weights.errors import WeightsError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_HEAD_BYTES = 4096
_NAME_LENGTH, _HEADER_BYTES = 26, 30
_DEFLATE_RATIO = 1032
_ZIP_MAGIC = b"PK\x03\x04"
_LFS_MAGIC = b"version https://git-lfs.github.com/spec/"
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    _ZIP_MAGIC: "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7-zip",
}
ZIP_ERRORS = (
    EOFError,
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile raises for damage; a RuntimeError for a member that looks encrypted."""

_HTML = (b"<!doctype html", b"<html")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXT_CONTROLS = frozenset(b"\t\n\v\f\r")


def map_file(path: Path) -> memoryview:
    """The bytes of a file of weights, mapped and not read.

    Raises WeightsError for a file that can't be read or is plainly something else: empty,
    a Git LFS pointer, a web page, text, compressed.
    """
    mapped = _map(path)
    _refuse_foreign(path, bytes(mapped[:_HEAD_BYTES]))
    return mapped


def is_archive_with(path: Path, member: str) -> bool:
    """Whether a file is a zip archive that has a member of this name."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with open(path, "rb") as file:
            if file.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
                return False
        with zipfile.ZipFile(path) as archive:
            return member in archive.namelist()
    except ZIP_ERRORS:
        return False


def map_archive(path: Path, member: str) -> memoryview:
    """The bytes of a member of a zip archive, mapped where they aren't compressed.

    Raises WeightsError if the archive can't be read or lacks the member.
    """
    mapped = _map(path)
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(member)
            if info.compress_type == zipfile.ZIP_STORED:
                with archive.open(member):  # checks the header in front of the bytes
                    start = _start_of_member(mapped, info.header_offset)
                if info.file_size > len(mapped) - start:
                    raise zipfile.BadZipFile("it ends too early")
                return mapped[start : start + info.file_size]
            if info.compress_type != zipfile.ZIP_DEFLATED:
                raise zipfile.BadZipFile("it is compressed in another way than Keras's")
            if info.file_size > _DEFLATE_RATIO * len(mapped):
                raise zipfile.BadZipFile(f"`{member}` has {info.file_size} bytes")
            return memoryview(archive.read(member))
    except KeyError:
        reason = f"it has no `{member}`"
    except ZIP_ERRORS as error:
        reason = str(error)
    raise WeightsError(
        "file-corrupt",
        f"`{path}` is damaged, or not a .keras file: {reason}",
        help="give what model.save() wrote",
    )


def _start_of_member(mapped: memoryview, header: int) -> int:
    """Where a member's bytes begin, behind its header, name and extra fields."""
    name, extra = struct.unpack_from("<HH", mapped, header + _NAME_LENGTH)
    return int(header + _HEADER_BYTES + name + extra)


def _map(path: Path) -> memoryview:
    """The bytes of a binary file, mapped and not read.

    The view, and every array made from it, keeps the mapping alive. The file must not
    be cut short while it is mapped.

    Raises WeightsError for a file that can't be read, or that is empty.
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
    return memoryview(mapped)


def _refuse_foreign(path: Path, head: bytes) -> None:
    if head.startswith(_LFS_MAGIC):
        raise WeightsError(
            "file-is-lfs-pointer",
            f"`{path}` is a Git LFS pointer, not the file itself",
            help="run `git lfs pull` in its repository",
        )
    if _is_html(head):
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


def _is_html(head: bytes) -> bool:
    """Whether a web page begins so, maybe behind a comment or a line of XML."""
    text = head.removeprefix(_BYTE_ORDER_MARK).lstrip().lower()
    return text.startswith(b"<") and any(tag in text for tag in _HTML)


def _is_text(head: bytes) -> bool:
    if any(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in head):
        return False
    # The head may end within a character, which is at most four bytes long.
    text = head.decode("utf-8", errors="ignore")
    return len(head) - len(text.encode("utf-8")) < 4
