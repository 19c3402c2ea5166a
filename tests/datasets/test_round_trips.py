"""From a database to any form and back: the same keys and Datums."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffe2k.datasets.conversion import Conversion
from caffe2k.datasets.opening import open_source
from caffe2k.schema.caffe_pb2 import Datum
from tests.datasets.making import (
    encoded,
    floats,
    numbered,
    parsed,
    picture,
    raw,
    read_leveldb,
    read_lmdb,
    write_leveldb,
    write_lmdb,
)

FORMS = ("lmdb", "leveldb", "images", "hdf5", "tfrecord")

int32 = st.integers(-(2**31), 2**31 - 1)
keys = st.binary(min_size=1, max_size=40)
shapes = st.tuples(*[st.integers(1, 4)] * 3)
few = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def convert(source: Path, output: Path, to: str, **options) -> Path:
    Conversion(open_source(source), output, to, **options).run()
    return output


def there_and_back(records: dict, to: str, **options) -> dict[bytes, bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = write_lmdb(folder / "source", records)
        middle = convert(source, folder / "middle", to, **options)
        back = read_lmdb(convert(middle, folder / "back", "lmdb"))
        left = {path.name for path in folder.iterdir()}
        assert left == {"source", "middle", "back"}
        return back


@st.composite
def datums(draw, kinds=("raw", "floats", "bare")):
    """Any Datum, whether Caffe could use it or not."""
    shape = draw(shapes)
    datum = Datum()
    for field in ("channels", "height", "width", "label"):
        if draw(st.booleans()):
            setattr(datum, field, draw(int32))
    if draw(st.booleans()):
        datum.encoded = draw(st.booleans())
    if draw(st.booleans()):
        datum.data = draw(st.binary(max_size=30))
    if draw(st.booleans()):
        values = draw(st.lists(st.floats(width=32, allow_nan=False), max_size=9))
        datum.float_data.extend(values)
    if not datum.HasField("data") and not datum.float_data:
        datum.data = bytes(int(np.prod(shape)))
    return datum


@pytest.mark.parametrize("to", ["lmdb", "leveldb", "tfrecord"])
@few
@given(records=st.dictionaries(keys, datums(), min_size=1, max_size=6))
def test_any_datum_comes_back(to: str, records: dict) -> None:
    back = there_and_back(records, to, **({"shards": 3} if to == "tfrecord" else {}))
    assert parsed(back) == records


@few
@given(
    records=st.dictionaries(keys, st.tuples(int32, st.integers()), min_size=1),
    shape=shapes,
    of_floats=st.booleans(),
)
def test_arrays_come_back_from_hdf5(records: dict, shape, of_floats: bool) -> None:
    made = {}
    for key, (label, seed) in records.items():
        rng = np.random.default_rng(abs(seed))
        if of_floats:
            made[key] = floats(rng.normal(size=shape).astype(np.float32), label)
        else:
            made[key] = raw(rng.integers(0, 256, shape), label)
    assert parsed(there_and_back(made, "hdf5")) == made


@few
@given(
    records=st.dictionaries(
        st.one_of(keys, st.from_regex(rb"\A\d{8}_[ -~]{1,12}\Z")),
        st.tuples(int32, st.sampled_from(["gray", "raw", "rgba", "jpg", "png"])),
        min_size=1,
    )
)
def test_images_come_back_from_a_folder(records: dict) -> None:
    made = {}
    for seed, (key, (label, kind)) in enumerate(records.items()):
        if kind in ("jpg", "png"):
            made[key] = encoded(picture(seed, 5, 4, 3), kind, label)
        else:
            channels = {"gray": 1, "raw": 3, "rgba": 4}[kind]
            made[key] = raw(picture(seed, channels, 5, 4), label)
    assert parsed(there_and_back(made, "images")) == made


@pytest.mark.parametrize("to", FORMS)
def test_fields_that_are_not_set_stay_so(to: str) -> None:
    without_label = raw(picture(0, 3, 4, 4))
    without_label.ClearField("label")
    with_flag = raw(picture(1, 3, 4, 4), 2)
    with_flag.encoded = False
    records = numbered([without_label, with_flag])
    assert parsed(there_and_back(records, to)) == records


@pytest.mark.parametrize("to", ["lmdb", "leveldb"])
def test_databases_keep_the_bytes(tmp_path: Path, to: str) -> None:
    """Also those of fields that our schema does not know."""
    value = raw(picture(0, 1, 2, 2)).SerializeToString() + b"\xfa\x01\x03abc"
    source = write_leveldb(tmp_path / "source", {b"a": value, b"b": value})
    output = convert(source, tmp_path / "out", to)
    read = {"lmdb": read_lmdb, "leveldb": read_leveldb}[to]
    assert read(output) == {b"a": value, b"b": value}


def test_a_new_lmdb_grows(tmp_path: Path) -> None:
    datums = [raw(picture(n, 3, 512, 512), n) for n in range(50)]
    source = write_lmdb(tmp_path / "source", numbered(datums))
    output = convert(source, tmp_path / "out", "lmdb")
    assert sum(map(len, read_lmdb(output).values())) > 2 * (1 << 24)
    assert read_lmdb(output) == read_lmdb(source)


def test_hdf5_files_are_of_bounded_size(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("caffe2k.datasets.hdf5._SLAB_BYTES", 40)
    monkeypatch.setattr("caffe2k.datasets.hdf5._FILE_BYTES", 400)
    datums = [raw(picture(n, 1, 3, 4), n) for n in range(40)]
    source = write_lmdb(tmp_path / "source", numbered(datums))
    output = convert(source, tmp_path / "out", "hdf5")
    listed = (output / "list.txt").read_text().split()
    assert len(listed) == 4
    assert listed[0] == f"{output.as_posix()}/data-00000.h5"
    back = convert(output, tmp_path / "back", "lmdb")
    assert parsed(read_lmdb(back)) == parsed(read_lmdb(source))


def test_decode_makes_encoded_images_raw(tmp_path: Path) -> None:
    pixels = picture(0, 6, 5, 3)
    records = numbered([encoded(pixels, "png", 4), raw(picture(1, 1, 2, 3), 5)])
    source = write_lmdb(tmp_path / "source", records)
    output = convert(source, tmp_path / "out", "lmdb", decode=True)
    first, second = parsed(read_lmdb(output)).values()
    assert (first.channels, first.height, first.width) == (3, 6, 5)
    assert first.data == pixels.transpose(2, 0, 1).tobytes()
    assert (first.label, first.encoded) == (4, False)
    assert second == records[b"00000001"]


def test_names_in_keys_become_files_below_the_folder(tmp_path: Path) -> None:
    image = raw(picture(0, 3, 2, 2), 7)
    keys = [
        b"00000000_cats/one.jpg",
        b"00000001_../../outside.png",
        b"00000002_/etc/outside.png",
        b"00000003_cats/one.jpg.png",
        b"00000004_a\nb.png",
        b"00000005_with blank.png",
        b"nothing",
    ]
    source = write_lmdb(tmp_path / "source", dict.fromkeys(keys, image))
    convert(source, tmp_path / "out", "images")
    files = sorted(
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    )
    assert files == [
        "00000001.png",
        "00000002.png",
        "00000004.png",
        "00000006.png",
        "cats/one.jpg.png",
        "list.txt",
        "records.txt",
        "with blank.png",
    ]
    listed = (tmp_path / "out" / "list.txt").read_text().splitlines()
    assert listed[0] == listed[3] == "cats/one.jpg.png 7"


def test_another_image_of_the_same_name_is_kept(tmp_path: Path) -> None:
    keys = [b"00000000_a.png", b"00000001_a.png", b"00000002_a.png/b.png"]
    records = {key: raw(picture(n, 3, 2, 2), n) for n, key in enumerate(keys)}
    assert parsed(there_and_back(records, "images")) == records
