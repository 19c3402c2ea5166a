"""Small data sets: Datums, and databases that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import lmdb
import numpy as np
import plyvel

from caffe2k.schema.caffe_pb2 import Datum

Records = Mapping[bytes, Datum | bytes]


def raw(values: np.ndarray, label: int = 0) -> Datum:
    """A Datum of uint8 values (C, H, W)."""
    channels, height, width = values.shape
    return Datum(
        channels=channels,
        height=height,
        width=width,
        data=values.astype(np.uint8).tobytes(),
        label=label,
    )


def floats(values: np.ndarray, label: int = 0) -> Datum:
    """A Datum of float_data (C, H, W)."""
    channels, height, width = values.shape
    return Datum(
        channels=channels,
        height=height,
        width=width,
        float_data=values.ravel().tolist(),
        label=label,
    )


def encoded(pixels: np.ndarray, suffix: str, label: int = 0) -> Datum:
    """A Datum of an image file, from pixels (H, W, C)."""
    return Datum(data=image_file(pixels, suffix), encoded=True, label=label)


def image_file(pixels: np.ndarray, suffix: str) -> bytes:
    done, data = cv2.imencode(f".{suffix}", pixels)
    assert done
    return data.tobytes()


def picture(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def numbered(datums: Iterable[Datum | bytes]) -> dict[bytes, Datum | bytes]:
    return {b"%08d" % number: datum for number, datum in enumerate(datums)}


def write_lmdb(path: Path, records: Records) -> Path:
    with (
        lmdb.open(str(path), map_size=1 << 26) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in records.items():
            transaction.put(key, _bytes(value))
    return path


def write_leveldb(path: Path, records: Records) -> Path:
    database = plyvel.DB(str(path), create_if_missing=True)
    for key, value in records.items():
        database.put(key, _bytes(value))
    database.close()
    return path


def read_lmdb(path: Path) -> dict[bytes, bytes]:
    with (
        lmdb.open(str(path), readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        return dict(transaction.cursor())


def read_leveldb(path: Path) -> dict[bytes, bytes]:
    database = plyvel.DB(str(path))
    records = dict(database)
    database.close()
    return records


def parsed(records: Mapping[bytes, bytes]) -> dict[bytes, Datum]:
    return {key: Datum.FromString(value) for key, value in records.items()}


def _bytes(value: Datum | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.SerializeToString()
