"""TFRecord shards of Datums, and the Data layer that reads them; without TensorFlow.

Record number i of a database lies in shard i modulo the number of shards, as a
tf.train.Example with a feature for each field of the Datum.
"""

import mmap
import re
import struct
from itertools import count, islice
from pathlib import Path

import numpy as np

from .datum import Datum, DatumError, read_varint
from .labelled_images import LabelledImages, Listed
from .transform import Transformer

_HEAD = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_NAME = re.compile(r"data-\d+-of-(\d+)\.tfrecord")


class TFRecordReader(LabelledImages):
    """Caffe's Data layer over shards: the batches that the database itself would give.

    source: the folder of the shards, *.tfrecord. The checksum of each record's length is
    looked at; that of its data where google_crc32c is installed. Raises ValueError at
    once where a shard is missing.
    Caffe: data_layer.cpp.
    """

    def __init__(self, source, batch_size, tops, transform=None):
        self.source = source
        self.batch_size = batch_size
        self.tops = tuple(tops)
        self.transform = transform or Transformer("TEST")
        self.items = Records(Path(source))

    def read(self, record):
        datum = parse_example(self.items.data(record))
        color = self.transform.decode_as_color if datum.encoded else None
        return datum.image(color), datum.label

    def name(self, record):
        number, path, _ = record
        return f"{self.source}, record {number} ({path.name})"


class Records(Listed):
    """The records of all shards in the order of their numbers.

    Each is a (number, shard, where it begins). Raises ValueError where a shard is damaged.
    """

    def __init__(self, folder):
        super().__init__(folder)
        self._folder = folder
        self._shards = {path: _mapped(path) for path in _shards(folder)}
        self._checksum = _fast_checksum()
        self._listing = self._places()

    def more(self, last, count):
        return list(islice(self._listing, count))

    def data(self, record):
        """The bytes of a record's Example."""
        _, path, start = record
        shard = self._shards[path]
        length, _ = _HEAD.unpack_from(shard, start)
        start += _HEAD.size
        data = shard[start : start + length]
        if self._checksum is not None:
            (stored,) = _CRC.unpack_from(shard, start + length)
            if stored != _masked(self._checksum(data)):
                raise DatumError("its checksum does not fit its data")
        return data

    def _places(self):
        """One record of each shard in turn, until the first has no more."""
        paths = list(self._shards)
        starts = dict.fromkeys(paths, 0)
        for number in count():
            path = paths[number % len(paths)]
            start = starts[path]
            if start == len(self._shards[path]):
                break
            starts[path] = _end(self._shards[path], start, path)
            yield number, path, start
        for path, start in starts.items():
            if start != len(self._shards[path]):
                short = paths[number % len(paths)].name
                raise ValueError(f"{self._folder}: {short} has too few records")


def parse_example(data):
    """The Datum in the bytes of an Example; raises DatumError where there is none."""
    datum = Datum()
    try:
        for _, features in _parts(data, (0, len(data))):
            for _, entry in _parts(data, features):
                _read_feature(data, dict(_parts(data, entry)), datum)
    except IndexError:
        raise DatumError("it is not a tf.train.Example") from None
    return datum


_FIRST, _SECOND = 1 << 3 | 2, 2 << 3 | 2
"""The tags of the fields 1 and 2, where they have a length."""


def _parts(data, span):
    """The tag of each field of a message, and the (start, end) of what it holds.

    All messages of an Example are of fields that have a length.
    """
    parts = []
    position, end = span
    while position < end:
        tag, length = data[position], data[position + 1]
        position += 2
        if length >= 0x80:
            length, position = read_varint(data, position - 1)
        parts.append((tag, (position, position + length)))
        position += length
        if tag & 7 != 2 or position > end:
            raise DatumError("it is not a tf.train.Example")
    return parts


def _read_feature(data, entry, datum):
    """Sets the field of a Datum that an entry of the map of features is for."""
    start, end = entry.get(_FIRST, (0, 0))
    name = data[start:end]
    if name in _FEATURES:
        for _, values in _parts(data, entry.get(_SECOND, (0, 0))):
            setattr(datum, name.decode(), _FEATURES[name](data, values))


def _number(data, values):
    """The first of a list of whole numbers, packed or not; 0 where there is none."""
    position, end = values
    if position == end:
        return 0
    is_packed = data[position] == _FIRST
    position += 1
    if is_packed:
        _, position = read_varint(data, position)
    number = read_varint(data, position)[0] & 0xFFFFFFFF
    return number - (number >> 31 << 32)


def _bytes(data, values):
    """The first of a list of bytes; None where there is none, or it is empty."""
    for _, (start, end) in _parts(data, values)[:1]:
        if start < end:
            return np.frombuffer(data, np.uint8, end - start, start)
    return None


def _floats(data, values):
    """A packed list of floats; None where it is empty."""
    for _, (start, end) in _parts(data, values)[:1]:
        if start < end:
            return np.frombuffer(data, "<f4", (end - start) // 4, start)
    return None


_FEATURES = {
    b"channels": _number,
    b"height": _number,
    b"width": _number,
    b"label": _number,
    b"encoded": _number,
    b"data": _bytes,
    b"float_data": _floats,
}


def _shards(folder):
    paths = sorted(folder.glob("*.tfrecord"))
    if not paths:
        raise ValueError(f"{folder} holds no *.tfrecord files")
    numbered = _NAME.fullmatch(paths[0].name)
    if numbered and len(paths) != int(numbered[1]):
        raise ValueError(f"{folder} holds {len(paths)} of {int(numbered[1])} shards")
    return paths


def _mapped(path):
    with path.open("rb") as file:
        if not path.stat().st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _end(shard, start, path):
    """Where the record that begins at `start` ends; its length is checked."""
    if start + _HEAD.size <= len(shard):
        length, stored = _HEAD.unpack_from(shard, start)
        end = start + _HEAD.size + length + _CRC.size
        if end <= len(shard) and stored == _masked(_checksum(shard[start : start + 8])):
            return end
    raise ValueError(f"{path} is damaged or cut off at byte {start}")


def _masked(checksum):
    """How TFRecords store a checksum."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _fast_checksum():
    try:
        import google_crc32c
    except ImportError:
        return None
    return google_crc32c.value


def _checksum(data):
    """CRC-32C, for a few bytes."""
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = _TABLE[(checksum ^ byte) & 0xFF] ^ checksum >> 8
    return checksum ^ 0xFFFFFFFF


def _table_entry(number):
    for _ in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    return number


_TABLE = [_table_entry(number) for number in range(256)]
