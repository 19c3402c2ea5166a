"""Writes Keras weights to the .h5 layout that `load_weights(by_name=True)` reads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import h5py
import numpy as np

from caffe2k.weights.blob import FloatArray
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.plan import KerasLayer, KerasWeight

OnProgress = Callable[[int, int], None]
"""Called with the bytes written so far and the bytes to write."""

_DTYPE = np.dtype("<f4")
_ATTRIBUTE_BYTES = 64512
_SLAB_BYTES = 16 << 20


def write_legacy_h5(
    path: Path,
    layers: Sequence[KerasLayer],
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> None:
    """Writes one group per Keras layer, and in it one data set per weight, in order.

    The file appears whole or not at all. Weights are loaded one at a time and copied in
    slabs, so that a transposed kernel is never in memory as a whole.

    Raises WeightsError if the file exists and not `force`, if Keras could not load a
    file of this name, or if it can't be written.
    """
    if path.suffix not in (".h5", ".hdf5") or path.name.endswith(".weights.h5"):
        raise WeightsError(
            "output-name",
            f"Keras loads no weights by layer name from a file called `{path.name}`",
            help="call it .h5, but not .weights.h5",
        )
    if path.exists() and not force:
        raise WeightsError(
            "output-exists", f"`{path}` exists", help="overwrite it with --force"
        )
    temporary = path.with_name(f".caffe2k-{uuid4().hex}.tmp")
    try:
        _fill(temporary, _lay_out(temporary, layers), on_progress)
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


def _lay_out(path: Path, layers: Sequence[KerasLayer]) -> list[tuple[int, KerasWeight]]:
    """Creates the file with every data set allocated; where each one's values go."""
    places = []
    path.touch(exist_ok=False)
    with h5py.File(path, "w") as file:
        # A file without a version is taken for Keras 1, with kernels in another order.
        file.attrs["keras_version"] = b"3.0.0"
        _write_names(file, "layer_names", [layer.name for layer in layers])
        for layer in layers:
            group = file.create_group(layer.name)
            _write_names(group, "weight_names", [w.name for w in layer.weights])
            for weight in layer.weights:
                offset = _allocate(group, weight)
                if offset is not None:
                    places.append((offset, weight))
    return places


def _write_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """Writes names as an attribute; as attribute0, attribute1, ... if they are long."""
    array = np.array([name.encode() for name in names], dtype=np.bytes_)
    if array.nbytes <= _ATTRIBUTE_BYTES:
        group.attrs[attribute] = array
        return
    size = max(1, _ATTRIBUTE_BYTES // array.itemsize)
    for number, start in enumerate(range(0, len(array), size)):
        group.attrs[f"{attribute}{number}"] = array[start : start + size]


def _allocate(group: h5py.Group, weight: KerasWeight) -> int | None:
    """Creates a data set without values; its offset in the file, if it has any bytes."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(weight.shape)
    dataset = h5py.h5d.create(group.id, None, h5py.h5t.IEEE_F32LE, space, layout)
    group[weight.name] = h5py.Dataset(dataset)
    offset: int | None = dataset.get_offset()
    return offset


def _fill(
    path: Path,
    places: Sequence[tuple[int, KerasWeight]],
    on_progress: OnProgress | None,
) -> None:
    done, total = 0, sum(_byte_count(weight) for _, weight in places)
    with open(path, "r+b") as file:
        for offset, weight in places:
            values = weight.load()
            if values.size * _DTYPE.itemsize != _byte_count(weight):
                raise ValueError(f"{weight} has {values.size} values")
            file.seek(offset)
            for slab in _slabs(values):
                file.write(slab.data)
                done += slab.nbytes
                if on_progress is not None:
                    on_progress(done, total)
        file.flush()
        os.fsync(file.fileno())


def _byte_count(weight: KerasWeight) -> int:
    return math.prod(weight.shape) * _DTYPE.itemsize


def _slabs(values: FloatArray) -> Iterator[FloatArray]:
    """`values` in C order, in contiguous pieces of bounded size."""
    if values.nbytes <= _SLAB_BYTES:
        yield np.ascontiguousarray(values, _DTYPE)
        return
    row_bytes = values.nbytes // len(values)
    if row_bytes > _SLAB_BYTES:
        for row in values:
            yield from _slabs(row)
        return
    rows = _SLAB_BYTES // row_bytes
    for start in range(0, len(values), rows):
        yield np.ascontiguousarray(values[start : start + rows], _DTYPE)
