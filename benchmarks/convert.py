"""Records per second of `caffe2k data convert`, mean and inspect, on one process.

Beside them, in the same run, a plain loop: lmdb and protobuf, which reads each record,
parses it, and writes it into a new LMDB in transactions of 1000.

    python benchmarks/convert.py [RECORDS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import lmdb
import numpy as np

from caffe2k.datasets.conversion import Conversion
from caffe2k.datasets.inspection import inspect
from caffe2k.datasets.mean import mean_image
from caffe2k.datasets.opening import open_source
from caffe2k.schema.caffe_pb2 import Datum

RECORDS = 20_000
PLAIN = "plain loop"


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for title, make, share in (
            ("raw 3 x 32 x 32", _raw, 1),
            ("JPEG, 256 x 256", _jpeg, 10),
        ):
            count = records // share
            database = folder / f"{make.__name__}_lmdb"
            _write(database, make, count)
            print(f"{title}, {count} records")
            for name, run in _runs(database, folder / make.__name__).items():
                start = time.perf_counter()
                run()
                rate = count / (time.perf_counter() - start)
                print(f"  {name:24} {rate:9,.0f} records/s")


def _runs(database: Path, output: Path) -> dict[str, Callable[[], object]]:
    def converted(to: str, shards: int = 1) -> Callable[[], object]:
        target = output.with_name(f"{output.name}_as_{to}")
        return Conversion(open_source(database), target, to, shards).run

    return {
        PLAIN: lambda: _plain_loop(database, output.with_name(f"{output.name}_plain")),
        "convert --to lmdb": converted("lmdb"),
        "convert --to leveldb": converted("leveldb"),
        "convert --to tfrecord": converted("tfrecord", 8),
        "mean": lambda: mean_image(open_source(database)),
        "inspect": lambda: inspect(open_source(database)),
    }


def _plain_loop(source: Path, target: Path) -> None:
    with (
        lmdb.open(str(source), readonly=True, lock=False) as read,
        lmdb.open(str(target), map_size=1 << 34) as written,
        read.begin() as records,
    ):
        batch = []
        for key, value in records.cursor():
            batch.append((key, Datum.FromString(value).SerializeToString()))
            if len(batch) == 1000:
                _put(written, batch)
                batch = []
        _put(written, batch)


def _put(environment: lmdb.Environment, batch: list[tuple[bytes, bytes]]) -> None:
    with environment.begin(write=True) as transaction:
        for key, value in batch:
            transaction.put(key, value)


def _write(path: Path, make: Callable[[int], Datum], count: int) -> None:
    with lmdb.open(str(path), map_size=1 << 34) as environment:
        records = (make(number).SerializeToString() for number in range(count))
        _put(environment, [(b"%08d" % n, value) for n, value in enumerate(records)])


def _raw(number: int) -> Datum:
    values = np.random.default_rng(number).integers(0, 256, 3072, np.uint8)
    return Datum(
        channels=3, height=32, width=32, data=values.tobytes(), label=number % 10
    )


def _jpeg(number: int) -> Datum:
    """A smooth picture, so that it is as large as a photograph's file."""
    coarse = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
    done, data = cv2.imencode(".jpg", cv2.resize(coarse, (256, 256)))
    assert done
    return Datum(data=data.tobytes(), encoded=True, label=number % 10)


if __name__ == "__main__":
    main()
