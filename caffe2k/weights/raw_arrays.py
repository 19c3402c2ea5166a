"""Writes Caffe's blobs as they are, to .npz and .safetensors."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from caffe2k.weights.plan import LazyArray
from caffe2k.weights.slabs import DTYPE, Progress, write_in_order, write_values
from caffe2k.weights.whole_file import OnProgress, whole_file

_ALIGNMENT = 8
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time that members of the archive get: the file must not depend on the clock."""


def write_npz(
    path: Path,
    arrays: Sequence[LazyArray],
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> None:
    """Writes what `numpy.load` reads, with each array under its name.

    Raises WeightsError if the file exists and not `force`, or if it can't be written.
    """
    arrays = _with_text_names(arrays)
    progress = Progress(arrays, on_progress)
    with (
        whole_file(path, force=force) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
    ):
        for array in arrays:
            member = zipfile.ZipInfo(f"{array.name}.npy", _EARLIEST)
            with archive.open(member, "w", force_zip64=True) as stream:
                stream.write(_npy_header(array))
                write_in_order(stream, array, progress)


def _with_text_names(arrays: Sequence[LazyArray]) -> list[LazyArray]:
    """The arrays with names in UTF-8: what is none becomes `\\xff`, as Python shows it."""
    names = (array.name.encode("utf-8", "surrogateescape") for array in arrays)
    texts = (name.decode("utf-8", "backslashreplace") for name in names)
    return [array.renamed(text) for array, text in zip(arrays, texts, strict=True)]


def _npy_header(array: LazyArray) -> bytes:
    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(DTYPE),
        "fortran_order": False,
        "shape": array.shape,
    }
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def write_safetensors(
    path: Path,
    arrays: Sequence[LazyArray],
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> None:
    """Writes the format of https://github.com/huggingface/safetensors.

    That is the size of the header, the header in JSON, and the values of all arrays.

    Raises WeightsError as `write_npz` does.
    """
    arrays = _with_text_names(arrays)
    starts = tuple(accumulate((array.nbytes for array in arrays), initial=0))
    described = {
        array.name: {
            "dtype": "F32",
            "shape": array.shape,
            "data_offsets": (start, start + array.nbytes),
        }
        for start, array in zip(starts, arrays, strict=False)
    }
    header = json.dumps(described, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    head = struct.pack("<Q", len(header)) + header
    offsets = (len(head) + start for start in starts)
    with whole_file(path, force=force) as temporary, open(temporary, "wb") as file:
        file.write(head)
        write_values(file, zip(offsets, arrays, strict=False), on_progress)
