"""HDF5 files of the arrays `data` and `label`, as Caffe's HDF5Data layer reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from caffe2k.datasets.errors import DatasetError, Fault, empty, missing, unreadable
from caffe2k.datasets.image_list import list_lines
from caffe2k.datasets.records import Record, Values, require_exact, shape_text
from caffe2k.datasets.source import LIST_NAME, Place, Source
from caffe2k.datasets.writer import State, Writer
from caffe2k.schema.caffe_pb2 import Datum
from caffe2k.sources.lookup import find_beside

_DATA, _LABEL = "data", "label"
_KEYS, _FIELDS = "caffe2k/key", "caffe2k/datum"
"""What gives a database back: the keys, and the Datums without their values.

Each is an array of all their bytes, beside one of the places where they end.
"""

_SLAB_BYTES = 16 << 20
_FILE_BYTES = 256 << 20
_MOST_ROW_BYTES = 1 << 31
_MOST_TEXT_BYTES = 1 << 30
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


class HDF5Source(Source):
    """The rows of one HDF5 file, or of all in a list (hdf5_data_layer.cpp)."""

    backend = "HDF5"

    def __init__(self, path: Path, files: list[Path]) -> None:
        super().__init__(path)
        self._files = files

    @staticmethod
    def from_list(path: Path) -> HDF5Source:
        """The files of a list; they lie beside it, or where Caffe was run."""
        files = []
        for line in list_lines(path):
            for name in map(os.fsdecode, line.split()):
                file = find_beside(name, path.parent)
                if file is None:
                    raise missing(
                        name,
                        str(path),
                        help="run this in the folder that Caffe was run in",
                    )
                files.append(file)
        if not files:
            raise empty(str(path))
        return HDF5Source(path, files)

    @property
    def count(self) -> int | None:
        return sum(self._rows(path) for path in self._files)

    def files(self) -> list[Path]:
        listed = [] if self._files == [self.path] else [self.path]
        return listed + self._files

    def arrays(self) -> list[str]:
        """Every array of the first file, for example `data: uint8, 100 x 3 x 32 x 32`."""
        import h5py

        found: list[str] = []

        def note(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("caffe2k/"):
                found.append(f"{name}: {item.dtype}, {shape_text(item.shape)}")

        with self._reading(self._files[0]) as file:
            file.visititems(note)
        return found

    def records(self, after: Place | None = None) -> Iterator[Record]:
        skip = after.read if after is not None else 0
        number = 0
        for path in self._files:
            rows = self._rows(path)
            first = min(max(skip - number, 0), rows)
            if first < rows:
                yield from self._file_records(path, first, rows, number)
            number += rows

    def _rows(self, path: Path) -> int:
        with self._reading(path) as file:
            rows: int = self._data(file, path).shape[0]
        return rows

    def _file_records(
        self, path: Path, first: int, rows: int, number: int
    ) -> Iterator[Record]:
        with self._reading(path) as file:
            data = self._data(file, path)
            row_bytes = data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=object))
            if not 0 < row_bytes < _MOST_ROW_BYTES:
                raise unreadable(
                    self.name, f"a row of {row_bytes} bytes in {path.name}"
                )
            slab = max(1, _SLAB_BYTES // row_bytes)
            for start in range(first, rows, slab):
                part = slice(start, min(start + slab, rows))
                values = data[part]
                labels = self._column(file, _LABEL, rows, part)
                keys = self._texts(file, _KEYS, rows, part)
                fields = self._texts(file, _FIELDS, rows, part)
                for index in range(len(values)):
                    key = b"%08d" % (number + start + index)
                    yield Record(
                        self.name,
                        key if keys is None else keys[index],
                        partial(
                            _row_datum,
                            values[index],
                            None if labels is None else labels[index],
                            None if fields is None else fields[index],
                        ),
                    )

    def _column(self, file: Any, name: str, rows: int, part: slice) -> Any:
        """One entry for each row of `part`; None where the file lacks the array."""
        array = file.get(name)
        if array is None:
            return None
        if array.shape[:1] != (rows,):
            raise unreadable(
                self.name, f"`{name}` has another number of rows than `{_DATA}`"
            )
        return array[part]

    def _texts(
        self, file: Any, name: str, rows: int, part: slice
    ) -> list[bytes] | None:
        """The bytes that belong to each row of `part`; None where the file has none."""
        before = slice(max(part.start - 1, 0), part.stop)
        ends = self._column(file, f"{name}_end", rows, before)
        if ends is None:
            return None
        places = [0] * (part.start == 0) + [int(end) for end in ends]
        if places != sorted(places) or places[-1] - places[0] > _MOST_TEXT_BYTES:
            raise unreadable(self.name, f"`{name}_end` is no list of places")
        text = file[name][places[0] : places[-1]].tobytes()
        starts = [place - places[0] for place in places]
        return [text[a:b] for a, b in zip(starts, starts[1:], strict=False)]

    def _data(self, file: Any, path: Path) -> Any:
        data = file.get(_DATA)
        if not _is_data(data):
            raise DatasetError(
                "dataset-arrays",
                f"`{path.name}` has no array of numbers `{_DATA}` of 2 to 4 axes",
                help=f"it has {'; '.join(self.arrays()) or 'no arrays'}",
            )
        return data

    def holds_records(self) -> bool:
        """Whether the first file has an array that can be taken for records."""
        with self._reading(self._files[0]) as file:
            return _is_data(file.get(_DATA))

    @contextmanager
    def _reading(self, path: Path) -> Iterator[Any]:
        """An open file; what goes wrong in it becomes a DatasetError."""
        import h5py

        try:
            with h5py.File(path) as file:
                yield file
        except _HDF5_ERRORS as e:
            reason = str(e).replace(str(path), path.name)
            raise unreadable(self.name, f"{path.name}: {reason}") from None


def _is_data(array: Any) -> bool:
    import h5py

    numeric = isinstance(array, h5py.Dataset) and array.dtype.kind in "fiu"
    return numeric and 2 <= len(array.shape) <= 4


def _row_datum(values: Values, label: Any, fields: bytes | None) -> Datum:
    datum = Datum()
    if fields is not None:
        try:
            datum.ParseFromString(fields)
        except DecodeError:
            raise Fault(f"`{_FIELDS}` holds no Datum") from None
    shape = (*values.shape, 1, 1)[:3]
    if fields is None or (datum.channels, datum.height, datum.width) != shape:
        datum.channels, datum.height, datum.width = shape
    if values.dtype == np.uint8:
        datum.data = values.tobytes()
    else:
        with np.errstate(all="ignore"):  # a double may be too large for a float
            datum.float_data.extend(values.astype(np.float32).ravel().tolist())
    if label is not None:
        number = _label(label)
        if number != datum.label or fields is None:
            datum.label = number
    return datum


def _label(value: Any) -> int:
    """A label as Datum has it; raises Fault for one that is no int32."""
    if np.size(value) != 1:
        raise Fault(f"a label of {np.size(value)} values; a Datum has one")
    number = float(np.reshape(value, ())[()])
    if not number.is_integer() or not -(2**31) <= number < 2**31:
        raise Fault(f"the label {number:g}; a Datum has a whole number")
    return int(number)


class HDF5Writer(Writer):
    """HDF5 files of bounded size, since HDF5Data reads each as a whole, and their list.

    A file that is not full when the program is stopped is begun again.
    """

    def __init__(self, folder: Path, state: State | None, named: str) -> None:
        super().__init__()
        self._folder = folder
        self._named = named
        self._count = state["files"] if state else 0
        self._file: Any = None
        self._rows: list[tuple[Record, Values]] = []
        self._first: Values | None = None
        if state and state["shape"]:
            self._first = np.empty(state["shape"], state["dtype"])

    @property
    def due(self) -> bool:
        return self._file is None and not self._rows and bool(self._records)

    def write(self, record: Record) -> None:
        datum = record.datum
        if datum.encoded:
            raise DatasetError(
                "needs-decoding",
                f"`{record.source}` holds encoded images, and HDF5Data reads arrays",
                help="decode them on the way with --decode",
            )
        try:
            values = require_exact(datum)
        except Fault as fault:
            raise record.bad(fault) from None
        first = values if self._first is None else self._first
        if values.shape != first.shape or values.dtype != first.dtype:
            raise record.bad(
                f"{values.dtype} of {shape_text(values.shape)} in an array of "
                f"{first.dtype} of {shape_text(first.shape)}"
            )
        self._first = first
        self._rows.append((record, values))
        self._note(values.nbytes)
        if self._bytes >= _SLAB_BYTES:
            self._append()

    def _append(self) -> None:
        """Puts the waiting rows into the file, and closes it where it is full."""
        if not self._rows:
            return
        if self._file is None:
            self._file = self._new_file(self._rows[0][1])
        self._extend(_DATA, np.stack([values for _, values in self._rows]))
        self._extend(_LABEL, np.array([r.datum.label for r, _ in self._rows], "i4"))
        self._extend_texts(_KEYS, [record.key for record, _ in self._rows])
        self._extend_texts(_FIELDS, [_fields(r.datum) for r, _ in self._rows])
        data = self._file[_DATA]
        self._rows = []
        self._bytes = 0
        if data.size * 4 >= _FILE_BYTES:
            self._end_file()

    def _new_file(self, values: Values) -> Any:
        import h5py

        file = h5py.File(self._folder / _file_name(self._count), "w")
        rows = max(1, (1 << 20) // values.nbytes)
        file.create_dataset(
            _DATA,
            (0, *values.shape),
            values.dtype,
            maxshape=(None, *values.shape),
            chunks=(rows, *values.shape),
        )
        file.create_dataset(_LABEL, (0,), "i4", maxshape=(None,), chunks=(1024,))
        for name in (_KEYS, _FIELDS):
            file.create_dataset(name, (0,), "u1", maxshape=(None,), chunks=(8192,))
            name = f"{name}_end"
            file.create_dataset(name, (0,), "i8", maxshape=(None,), chunks=(1024,))
        return file

    def _extend(self, name: str, rows: Any) -> None:
        array = self._file[name]
        array.resize(len(array) + len(rows), axis=0)
        array[len(array) - len(rows) :] = rows

    def _extend_texts(self, name: str, texts: list[bytes]) -> None:
        ends = len(self._file[name]) + np.cumsum([len(text) for text in texts])
        self._extend(name, np.frombuffer(b"".join(texts), np.uint8))
        self._extend(f"{name}_end", ends)

    def _end_file(self) -> None:
        self._file.close()
        self._file = None
        self._count += 1

    def checkpoint(self) -> State:
        self._append()
        if self._file is not None:
            self._end_file()
        self._forget()
        names = [f"{self._named}/{_file_name(n)}\n" for n in range(self._count)]
        (self._folder / LIST_NAME).write_text("".join(names), encoding="utf-8")
        first = self._first
        return {
            "files": self._count,
            "shape": None if first is None else first.shape,
            "dtype": None if first is None else first.dtype.name,
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _file_name(number: int) -> str:
    return f"data-{number:05}.h5"


def _fields(datum: Datum) -> bytes:
    kept = Datum()
    kept.CopyFrom(datum)
    kept.ClearField("data")
    kept.ClearField("float_data")
    return kept.SerializeToString()
