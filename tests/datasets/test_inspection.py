"""What inspect counts, and what it finds wrong."""

from __future__ import annotations

import json
import struct
import zlib
from contextlib import closing
from pathlib import Path

import cv2
import h5py
import numpy as np
import plyvel
import pytest
from click.testing import CliRunner

from caffe2k.cli import main
from caffe2k.schema.caffe_pb2 import Datum
from tests.datasets.making import (
    encoded,
    floats,
    image_file,
    numbered,
    picture,
    raw,
    write_leveldb,
    write_lmdb,
)


def run(*args: str | Path):
    return CliRunner().invoke(main, ["data", "inspect", *map(str, args)])


def summary(*args: str | Path) -> dict:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def mixed() -> dict:
    return numbered(
        [
            raw(picture(0, 3, 4, 5), 1),
            raw(picture(1, 3, 4, 5), -1),
            floats(np.zeros((2, 1, 1), np.float32), 1),
            encoded(picture(2, 8, 9, 3), "jpg", 7),
            encoded(picture(3, 8, 9), "png", 1),
        ]
    )


@pytest.mark.parametrize(
    ("write", "backend"), [(write_lmdb, "LMDB"), (write_leveldb, "LevelDB")]
)
def test_counts(tmp_path: Path, write, backend: str) -> None:
    records = mixed()
    found = summary(write(tmp_path / "db", records))
    assert found["backend"] == backend
    assert found["records"] == 5
    assert found["bytes"]["records"] == sum(
        len(datum.SerializeToString()) for datum in records.values()
    )
    assert found["bytes"]["disk"] > 0
    assert found["shapes"] == [
        {"shape": [3, 4, 5], "records": 2},
        {"shape": [2, 1, 1], "records": 1},
        {"shape": [3, 8, 9], "records": 1},
        {"shape": [1, 8, 9], "records": 1},
    ]
    assert found["encodings"] == {
        "raw uint8": 2,
        "float_data": 1,
        "JPG": 1,
        "PNG": 1,
    }
    assert found["labels"] == {"-1": 1, "1": 3, "7": 1}
    assert found["faults"] == []


def test_the_table(tmp_path: Path) -> None:
    result = run(write_leveldb(tmp_path / "db", mixed()))
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.splitlines()[5:] == [
        "shape      records",
        "3 x 4 x 5        2",
        "2 x 1 x 1        1",
        "3 x 8 x 9        1",
        "1 x 8 x 9        1",
        "",
        "encoding    records",
        "raw uint8         2",
        "float_data        1",
        "JPG               1",
        "PNG               1",
        "",
        "label  records",
        "-1           1",
        "1            3",
        "7            1",
    ]


def test_a_list_of_images_is_told_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "a b.jpg").write_bytes(image_file(picture(0, 5, 6, 3), "jpg"))
    (tmp_path / "gray").write_bytes(image_file(picture(0, 5, 6), "png"))
    (tmp_path / "train.txt").write_text("a b.jpg 3\ngray 4\n")
    found = summary(tmp_path / "train.txt")
    assert found["backend"] == "image list"
    assert found["encodings"] == {"JPG": 1, "PNG": 1}
    assert found["labels"] == {"3": 1, "4": 1}
    assert [s["shape"] for s in found["shapes"]] == [[3, 5, 6], [1, 5, 6]]


def test_hdf5_that_is_no_run_of_records(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "clips.h5", "w") as file:
        file["clips"] = np.zeros((2, 3, 4, 5, 6), np.float32)
    found = summary(tmp_path / "clips.h5")
    assert found["arrays"] == ["clips: float32, 2 x 3 x 4 x 5 x 6"]


def test_contact_sheet(tmp_path: Path) -> None:
    white = np.full((3, 4, 4), 255, np.uint8)
    blue = np.zeros((3, 4, 4), np.uint8)
    blue[0] = 255
    database = write_lmdb(tmp_path / "db", numbered([raw(blue, 1), raw(white, 2)] * 40))
    sheet = tmp_path / "sheet.png"
    assert run(database, "--contact-sheet", sheet).exit_code == 0
    pixels = cv2.imread(str(sheet))
    assert pixels.shape[1] == 8 * 100 + 4
    assert pixels[50, 50].tolist() == [255, 0, 0]
    assert pixels[50, 150].tolist() == [255, 255, 255]
    again = run(database, "--contact-sheet", sheet)
    assert again.exit_code == 1
    assert "output-exists" in again.stderr
    assert run(database, "--contact-sheet", sheet, "--force").exit_code == 0


BOMB = b"".join(
    [
        b"\x89PNG\r\n\x1a\n",
        struct.pack(">I", 13)
        + b"IHDR"
        + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0),
        struct.pack(">I", zlib.crc32(b"")),
    ]
)


@pytest.mark.parametrize(
    ("datum", "reason"),
    [
        (b"\x08\x01\x22\xff", "it is not a Datum"),
        (Datum(channels=3, height=4, width=5, data=b"abc"), "3 values for a shape"),
        (Datum(channels=2**31 - 1, height=2**31 - 1, width=9, data=b"x"), "1 values"),
        (Datum(channels=-1, height=4, width=5, data=b"abc"), "is not positive"),
        (Datum(channels=1, height=1, width=1), "it holds no values"),
        (Datum(encoded=True), "marked as encoded and holds no data"),
        (Datum(encoded=True, data=b"GIF?"), "not an image that can be decoded"),
        (encoded(picture(0, 64, 64, 3), "png").data[:900], None),
        (Datum(encoded=True, data=BOMB), "60000 x 60000 pixels in 33 bytes"),
    ],
)
def test_a_bad_record_is_named_and_the_rest_counted(
    tmp_path: Path, datum, reason: str | None
) -> None:
    if reason is None:
        datum, reason = Datum(encoded=True, data=datum), "can be decoded"
    datums = [raw(picture(0, 3, 4, 5)), datum, raw(picture(1, 3, 4, 5))]
    result = run(write_lmdb(tmp_path / "db", numbered(datums)))
    assert result.exit_code == 1
    assert "3 x 4 x 5        2" in result.stdout
    assert "\nbad      1\n" in result.stdout
    assert "error[bad-record]" in result.stderr
    assert "record `00000001`" in result.stderr
    assert reason in result.stderr


def test_a_jpeg_without_its_end(tmp_path: Path) -> None:
    whole = image_file(picture(0, 64, 64, 3), "jpg")
    datum = Datum(encoded=True, data=whole[: len(whole) // 2])
    result = run(write_lmdb(tmp_path / "db", {b"half": datum}))
    assert "record `half`: a JPEG image without its end" in result.stderr


def test_a_key_cannot_drive_the_terminal(tmp_path: Path) -> None:
    result = run(write_lmdb(tmp_path / "db", {b"\x1b[31m\xff": b"\xff"}))
    assert "\x1b" not in result.stderr
    assert "record `\N{REPLACEMENT CHARACTER}[31m" in result.stderr


def test_many_bad_records_are_counted(tmp_path: Path) -> None:
    result = run(write_lmdb(tmp_path / "db", numbered([b"\xff"] * 200)))
    assert result.stderr.count("error[bad-record]") == 10
    assert "200 bad records" in result.stderr


def test_a_truncated_lmdb(tmp_path: Path) -> None:
    datums = [raw(picture(n, 3, 64, 64)) for n in range(20)]
    database = write_lmdb(tmp_path / "db", numbered(datums))
    file = database / "data.mdb"
    file.write_bytes(file.read_bytes()[: 1 << 16])
    result = run(database)
    assert result.exit_code == 1
    assert "error[dataset-unreadable]" in result.stderr
    assert "it is cut off: data.mdb has 65536 of at least" in result.stderr


def test_a_truncated_leveldb(tmp_path: Path) -> None:
    datums = [raw(picture(n, 3, 64, 64)) for n in range(600)]
    database = write_leveldb(tmp_path / "db", numbered(datums))
    with closing(plyvel.DB(str(database))) as opened:
        opened.compact_range()
    table = max(database.glob("*.ldb"), key=lambda path: path.stat().st_size)
    table.write_bytes(table.read_bytes()[:5000])
    result = run(database)
    assert result.exit_code == 1
    assert "error[dataset-unreadable]" in result.stderr
    assert str(database) in result.stderr


@pytest.mark.parametrize("write", [write_lmdb, write_leveldb])
def test_an_empty_database(tmp_path: Path, write) -> None:
    result = run(write(tmp_path / "db", {}))
    assert result.exit_code == 1
    assert "error[dataset-empty]" in result.stderr


@pytest.mark.parametrize("content", [None, b"\0\1\2\3" * 100])
def test_what_is_no_data_set(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "thing"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    result = run(path)
    assert result.exit_code == 1
    assert "error[dataset-kind]" in result.stderr


def test_an_image_of_the_list_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image_file(picture(0, 5, 6, 3), "png"))
    (tmp_path / "train.txt").write_text("a.png 3\nb.png 4\n")
    result = run(tmp_path / "train.txt")
    assert result.exit_code == 1
    assert "record `00000001_b.png`: cannot read" in result.stderr
