"""What a data set holds: shapes, encodings and labels, counted, and what is wrong."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from caffe2k.datasets.errors import BadRecord, DatasetError, empty
from caffe2k.datasets.hdf5 import HDF5Source
from caffe2k.datasets.records import Record, Values, encoding
from caffe2k.datasets.source import OnProgress, Source
from caffe2k.diagnostics import TranslationError

SHOWN_FAULTS = 10

OnImage = Callable[[Values, int], None]
"""Called with the values and the label of each sound record, in order."""

_AT_ONCE = 128


@dataclass
class Summary:
    """All that was counted; `faults` are the first of `bad` records, and what ended it."""

    source: str
    backend: str
    disk_bytes: int
    arrays: list[str] = field(default_factory=list)
    records: int = 0
    record_bytes: int = 0
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    bad: int = 0
    faults: list[TranslationError] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts."""
        return {
            "source": self.source,
            "backend": self.backend,
            "records": self.records,
            "bytes": {"records": self.record_bytes, "disk": self.disk_bytes},
            "arrays": self.arrays,
            "shapes": [
                {"shape": list(shape), "records": count}
                for shape, count in self.shapes.most_common()
            ],
            "encodings": dict(self.encodings.most_common()),
            "labels": {str(k): self.labels[k] for k in sorted(self.labels)},
            "bad": self.bad,
            "faults": [fault.diagnostics[0].message for fault in self.faults],
        }


def inspect(
    source: Source,
    on_progress: OnProgress | None = None,
    on_image: OnImage | None = None,
) -> Summary:
    """Reads all records, and decodes those that are encoded.

    A bad record is noted and passed over; where the data set itself ends in the middle,
    that is the last fault. An HDF5 file without `data` is described by its arrays alone.
    Raises DatasetError where there is nothing to read at all.
    """
    disk_bytes = sum(path.stat().st_size for path in source.files())
    summary = Summary(source.name, source.backend, disk_bytes)
    if isinstance(source, HDF5Source):
        summary.arrays = source.arrays()
        if not source.holds_records():
            return summary
    total = source.count
    try:
        for record, values in _read_ahead(source.records()):
            _count(summary, record, values)
            if on_image is not None and not isinstance(values, BadRecord):
                on_image(values, record.datum.label)
            if on_progress is not None:
                on_progress(summary.records, total)
    except DatasetError as error:
        summary.faults.append(error)
    if not summary.records and not summary.faults:
        raise empty(source.name)
    return summary


def _count(summary: Summary, record: Record, values: Values | BadRecord) -> None:
    summary.records += 1
    if isinstance(values, BadRecord):
        summary.bad += 1
        if summary.bad <= SHOWN_FAULTS:
            summary.faults.append(values)
        return
    summary.record_bytes += len(record.serialized)
    summary.shapes[values.shape] += 1
    summary.encodings[encoding(record.datum)] += 1
    summary.labels[record.datum.label] += 1


def _read_ahead(
    records: Iterator[Record],
) -> Iterator[tuple[Record, Values | BadRecord]]:
    """The records with their values, or what is wrong, decoded several at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        while True:
            some: list[Record] = []
            ended = None
            try:
                for record in islice(records, _AT_ONCE):
                    some.append(record)  # noqa: PERF402 - what came before an error
            except DatasetError as error:
                ended = error
            yield from zip(some, workers.map(_values, some), strict=True)
            if ended is not None:
                raise ended
            if len(some) < _AT_ONCE:
                return


def _values(record: Record) -> Values | BadRecord:
    try:
        return record.values()
    except BadRecord as error:
        return error
