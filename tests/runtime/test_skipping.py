"""Every reader: after skip(n) come the batches that come after reading n."""

import cv2
import h5py
import lmdb
import numpy as np
import plyvel
import pytest

from caffe2k.runtime.databases import DataReader
from caffe2k.runtime.dummy_data import DummyReader
from caffe2k.runtime.hdf5_data import HDF5Reader
from caffe2k.runtime.image_data import ImageListReader
from caffe2k.runtime.memory_data import InputReader, MemoryReader
from caffe2k.runtime.readers import Batches
from caffe2k.runtime.transform import Transformer
from caffe2k.runtime.window_data import WindowReader, WindowWarp
from caffe2k.schema.caffe_pb2 import Datum

TOPS = ["data", "label"]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (11, 3, 8, 9), np.uint8)


def records():
    for i, image in enumerate(IMAGES):
        datum = Datum(channels=3, height=8, width=9, data=image.tobytes(), label=i)
        yield b"%04d" % i, datum.SerializeToString()


def transform():
    return Transformer("TRAIN", crop_size=5, mirror=True)


def over_lmdb(folder):
    with (
        lmdb.open(str(folder), map_size=1 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in records():
            transaction.put(key, value)
    return DataReader(folder, 4, TOPS, "LMDB", transform())


def over_leveldb(folder):
    database = plyvel.DB(str(folder), create_if_missing=True)
    for key, value in records():
        database.put(key, value)
    database.close()
    return DataReader(folder, 4, TOPS, "LEVELDB", transform())


def over_images(folder, **settings):
    lines = []
    for i, image in enumerate(IMAGES):
        cv2.imwrite(str(folder / f"{i}.png"), image.transpose(1, 2, 0))
        lines.append(f"{i}.png {i}\n")
    (folder / "list.txt").write_text("".join(lines))
    source = folder / "list.txt"
    return ImageListReader(source, 4, TOPS, transform(), root=folder, **settings)


def over_hdf5(folder, shuffle=False):
    for name, rows in (("a", np.arange(5)), ("b", np.arange(5, 11))):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["data"], file["label"] = rows[:, None] * [1, -1], rows
    (folder / "list.txt").write_text("a.h5\nb.h5\n")
    return HDF5Reader(folder / "list.txt", 4, TOPS, shuffle, root=folder)


def over_windows(folder):
    cv2.imwrite(str(folder / "a.png"), IMAGES[0].transpose(1, 2, 0))
    windows = "".join(f"1 {i % 2} {i} 0 8 {i}\n" for i in range(8))
    (folder / "windows.txt").write_text(f"# 0\na.png\n3 8 9\n8\n{windows}")
    warp = WindowWarp(5, mirror=True)
    return WindowReader(folder / "windows.txt", 4, TOPS, warp, root=folder)


def over_memory(folder):
    return MemoryReader({"data": IMAGES[:8], "label": np.arange(8)}, 4, TOPS, (3, 8, 9))


def over_blobs(folder):
    blobs = ({"data": np.full((2, 3), i), "label": np.full(2, i)} for i in range(99))
    return InputReader(blobs, TOPS, [(2, 3), (2,)])


READERS = {
    "LMDB": over_lmdb,
    "LevelDB": over_leveldb,
    "images": over_images,
    "shuffled images": lambda folder: over_images(folder, shuffle=True, rand_skip=9),
    "HDF5": over_hdf5,
    "shuffled HDF5": lambda folder: over_hdf5(folder, shuffle=True),
    "windows": over_windows,
    "memory": over_memory,
    "blobs": over_blobs,
    "noise": lambda folder: DummyReader(TOPS, [(2, 3)], [{"type": "gaussian"}]),
}


@pytest.fixture(params=READERS)
def make(request, tmp_path):
    """Makes the same reader again and again."""

    def made():
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        folder.mkdir()
        return READERS[request.param](folder)

    return made


@pytest.mark.parametrize("shuffle", [False, True])
def test_skipping_is_reading(make, shuffle, request):
    if shuffle and "blobs" in request.node.name:
        pytest.skip("an iterator has one order")
    options = {"seed": 5, "shuffle": shuffle, "workers": 2}
    read, skipped = (Batches([make()], "data", "label", **options) for _ in range(2))
    for _ in range(7):
        next(read)
    next(skipped)
    skipped.skip(6)
    for _ in range(5):
        for one, other in zip(next(read), next(skipped), strict=True):
            np.testing.assert_array_equal(one, other)
    read.close()
    skipped.close()


@pytest.mark.parametrize("name", ["LMDB", "LevelDB", "images", "HDF5", "shuffled HDF5"])
def test_ranks_share_the_records(name, tmp_path):
    """Together, two ranks read what one process reads in batches of twice the size."""
    shares = []
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
        reader = READERS[name](tmp_path / str(rank))
        stream = Batches([reader], "data", "label", seed=1, rank=rank, world=2)
        shares.append([next(stream)[1] for _ in range(11)])
        stream.close()
    (tmp_path / "alone").mkdir()
    alone = Batches([READERS[name](tmp_path / "alone")], "data", "label", seed=1)
    row = np.concatenate([next(alone)[1] for _ in range(22)])
    np.testing.assert_array_equal(np.stack(shares, -1).ravel(), row)
    alone.close()


def test_leveldb_is_listed_no_further_than_it_is_read(tmp_path):
    """Its keys lie among its records: to list them all is to read it all."""
    reader = over_leveldb(tmp_path / "db")
    reader.items._CHUNK = 2
    stream = Batches([reader], "data", "label", prefetch=1)
    next(stream)
    stream.close()
    assert len(reader.items._known) <= 8
