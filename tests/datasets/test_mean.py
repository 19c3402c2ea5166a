"""The mean image against the loops of Caffe's compute_image_mean, value by value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffe2k.datasets.errors import BadRecord, DatasetError
from caffe2k.datasets.mean import mean_image
from caffe2k.datasets.opening import open_source
from caffe2k.schema.caffe_pb2 import BlobProto, Datum
from tests.datasets.making import (
    encoded,
    floats,
    numbered,
    picture,
    raw,
    write_leveldb,
    write_lmdb,
)


def mean_of(tmp_path: Path, datums, write=write_lmdb):
    return mean_image(open_source(write(tmp_path / "db", numbered(datums))))


def sums_in_order(images: list[np.ndarray]) -> np.ndarray:
    """compute_image_mean.cpp: one float for each value, added to record by record."""
    total = [np.float32(0)] * images[0].size
    for image in images:
        for index, value in enumerate(image.ravel()):
            total[index] = np.float32(total[index] + np.float32(value))
    count = np.float32(len(images))
    return np.array([value / count for value in total], np.float32)


def channel_means(image: np.ndarray) -> list[float]:
    means = []
    for channel in image:
        total = np.float32(0)
        for value in channel.ravel():
            total = np.float32(total + value)
        means.append(float(total / np.float32(channel.size)))
    return means


@pytest.mark.parametrize("write", [write_lmdb, write_leveldb])
def test_floats_are_summed_in_order(tmp_path: Path, write) -> None:
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.integers(-4, 8, (60, 2, 15, 17))
    images = list((rng.normal(size=scale.shape) * scale).astype(np.float32))
    found = mean_of(tmp_path, map(floats, images), write)
    expected = sums_in_order(images)
    assert found.image.dtype == np.float32
    assert found.image.tobytes() == expected.tobytes()
    assert found.image.shape == (2, 15, 17)
    assert found.channel_values == channel_means(expected.reshape(2, 15, 17))
    # Another order of the sums gives other floats, so this can fail.
    assert expected.tobytes() != np.mean(images, 0, np.float64).astype("f4").tobytes()
    assert found.channel_values != found.image.mean((1, 2)).tolist()


def test_bytes_and_decoded_images(tmp_path: Path) -> None:
    pixels = [picture(n, 6, 5, 3) for n in range(9)]
    datums = [
        encoded(p, "png") if n % 2 else raw(p.transpose(2, 0, 1))
        for n, p in enumerate(pixels)
    ]
    found = mean_of(tmp_path, datums)
    expected = sums_in_order([p.transpose(2, 0, 1) for p in pixels])
    assert found.image.tobytes() == expected.tobytes()
    assert found.count == 9


def test_the_mean_file_of_the_conformance_cases() -> None:
    folder = Path(__file__).parents[1] / "conformance" / "data" / "sources"
    found = mean_image(open_source(folder / "patches_lmdb"))
    blob = BlobProto.FromString((folder / "mean.binaryproto").read_bytes())
    assert np.array(blob.data, np.float32).tobytes() == found.image.tobytes()


def test_only_the_number_of_values_must_agree(tmp_path: Path) -> None:
    """As there, the shape is that of the first."""
    found = mean_of(tmp_path, [raw(np.full((1, 2, 3), 4)), raw(np.full((1, 3, 2), 6))])
    assert found.image.tolist() == [[[5, 5, 5], [5, 5, 5]]]


def test_binaryproto_and_npy(tmp_path: Path) -> None:
    found = mean_of(tmp_path, [raw(picture(n, 3, 4, 5)) for n in range(3)])
    found.write(tmp_path / "mean.binaryproto")
    blob = BlobProto.FromString((tmp_path / "mean.binaryproto").read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 4, 5)
    assert not blob.HasField("shape")
    values = np.array(blob.data, np.float32).reshape(3, 4, 5)
    assert values.tobytes() == found.image.tobytes()
    found.write(tmp_path / "mean.npy")
    assert np.load(tmp_path / "mean.npy").tobytes() == found.image.tobytes()
    with pytest.raises(DatasetError, match="output-exists"):
        found.write(tmp_path / "mean.npy")
    found.write(tmp_path / "mean.npy", force=True)
    assert {p.name for p in tmp_path.iterdir()} == {
        "db",
        "mean.binaryproto",
        "mean.npy",
    }


@pytest.mark.parametrize(
    ("datum", "reason"),
    [
        (b"\x08\x01\x22\xff", "it is not a Datum"),
        (raw(np.zeros((1, 2, 4))), "8 values, the first has 6"),
        (Datum(encoded=True, data=b"no image"), "8 bytes that are not an image"),
        (Datum(channels=1, height=2, width=3), "0 values, the first has 6"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, datum, reason: str) -> None:
    with pytest.raises(BadRecord, match=f"record `00000001`: {reason}"):
        mean_of(tmp_path, [raw(np.zeros((1, 2, 3))), datum])


def test_a_shape_without_its_values_takes_no_memory(tmp_path: Path) -> None:
    huge = Datum(channels=2**31 - 1, height=2**31 - 1, width=2**31 - 1, data=b"abc")
    with pytest.raises(BadRecord, match="record `00000000`: 3 values for a shape"):
        mean_of(tmp_path, [huge])


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no records"):
        mean_of(tmp_path, [])
