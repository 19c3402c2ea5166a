"""The mean image of a data set, to the last bit as Caffe's compute_image_mean has it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from caffe2k.datasets import images
from caffe2k.datasets.errors import Fault, empty, exists, unwritable
from caffe2k.datasets.records import Record
from caffe2k.datasets.source import OnProgress, Source
from caffe2k.schema.caffe_pb2 import BlobProto, Datum

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Mean:
    """A mean image of shape (C, H, W), and the number of images that it is of."""

    image: FloatArray
    count: int

    @property
    def channel_values(self) -> list[float]:
        """The mean of each channel, summed up in floats from its first pixel on."""
        _, height, width = self.image.shape
        area = np.float32(height * width)
        with np.errstate(all="ignore"):
            return [
                float(np.add.accumulate(channel.ravel(), dtype=np.float32)[-1] / area)
                for channel in self.image
            ]

    def write(self, path: Path, *, force: bool = False) -> None:
        """Writes the image as .npy, or under any other suffix as a BlobProto.

        The file appears whole or not at all. Raises DatasetError.
        """
        if path.exists() and not force:
            raise exists(str(path), "overwrite it with --force")
        temporary = path.with_name(f".caffe2k-{uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                if path.suffix == ".npy":
                    np.save(file, self.image)
                else:
                    file.write(self._blob().SerializeToString())
            os.replace(temporary, path)
        except OSError as e:
            raise unwritable(str(path), e) from None
        finally:
            temporary.unlink(missing_ok=True)

    def _blob(self) -> BlobProto:
        channels, height, width = self.image.shape
        blob = BlobProto(num=1, channels=channels, height=height, width=width)
        blob.data.extend(self.image.ravel().tolist())
        return blob


def mean_image(source: Source, on_progress: OnProgress | None = None) -> Mean:
    """The mean of all images, encoded ones decoded with the channels that they have.

    The sums are floats, and are added up in the order of the records, as
    tools/compute_image_mean.cpp does. Raises DatasetError, BadRecord for one that has
    another number of values than the shape of the first.
    """
    shape: tuple[int, ...] = ()
    total = np.zeros(0, np.float32)
    count, of = 0, source.count
    with np.errstate(all="ignore"):
        for count, record in enumerate(source.records(), 1):
            values, own = _flat(record)
            if count == 1:
                shape, total = own, np.zeros(values.size, np.float32)
                if min(shape) < 1 or int(np.prod(shape, dtype=object)) != values.size:
                    raise record.bad(f"{values.size} values for a shape of {shape}")
            if values.size != total.size:
                raise record.bad(f"{values.size} values, the first has {total.size}")
            total += values
            if on_progress is not None:
                on_progress(count, of)
        if not count:
            raise empty(source.name)
        return Mean((total / np.float32(count)).reshape(shape), count)


def _flat(record: Record) -> tuple[NDArray[np.uint8] | FloatArray, tuple[int, ...]]:
    """All values of a record in a row, and the shape that it declares."""
    datum: Datum = record.datum
    if datum.encoded:
        try:
            pixels = images.decode(datum.data)
        except Fault as fault:
            raise record.bad(fault) from None
        return pixels.reshape(-1), pixels.shape
    if datum.data and len(datum.float_data) > len(datum.data):
        raise record.bad("it has both data and float_data")
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        return np.frombuffer(datum.data, np.uint8), shape
    return np.array(datum.float_data, np.float32), shape
