"""A conversion appears whole or not at all, and goes on where it was stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from caffe2k.cli import main
from caffe2k.datasets.conversion import Conversion
from caffe2k.datasets.databases import LMDBWriter
from caffe2k.datasets.errors import BadRecord
from caffe2k.datasets.opening import open_source
from caffe2k.datasets.records import Record
from caffe2k.runtime.hdf5_data import HDF5Reader
from caffe2k.runtime.image_data import ImageListReader
from caffe2k.schema.caffe_pb2 import Datum
from tests.datasets.making import (
    encoded,
    image_file,
    numbered,
    parsed,
    picture,
    raw,
    read_lmdb,
    write_leveldb,
    write_lmdb,
)

PROJECT = Path(__file__).resolve().parents[2]

KILLED = """
import os, signal, sys
from pathlib import Path
from caffe2k.cli import main
from caffe2k.datasets import conversion, hdf5, writer

writer.CHECKPOINT_RECORDS = 10
hdf5._SLAB_BYTES, hdf5._FILE_BYTES = 48, 480
saves = 0
save = conversion.Conversion._save

def save_and_die(self, *args):
    global saves
    save(self, *args)
    saves += 1

def write_or_die(write):
    def written(self, record):
        write(self, record)
        if saves == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return written

conversion.Conversion._save = save_and_die
for module, name in (
    ("databases", "LMDBWriter"),
    ("databases", "LevelDBWriter"),
    ("image_folder", "ImageFolderWriter"),
    ("hdf5", "HDF5Writer"),
    ("tfrecords", "TFRecordWriter"),
):
    writer_type = getattr(__import__(f"caffe2k.datasets.{module}", fromlist=[name]), name)
    writer_type.write = write_or_die(writer_type.write)
main(sys.argv[1:])
"""


def run(*args: str | Path):
    return CliRunner().invoke(main, ["data", "convert", *map(str, args)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    datums = [raw(picture(n, 3, 2, 2), n) for n in range(100)]
    return write_lmdb(tmp_path / "source", numbered(datums))


def kill_a_run(source: Path, output: Path, to: str) -> None:
    args = ["data", "convert", str(source), str(output), "--to", to]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *args],
        cwd=PROJECT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("to", ["lmdb", "leveldb", "images", "hdf5", "tfrecord"])
def test_a_killed_run_goes_on(source: Path, tmp_path: Path, to: str) -> None:
    output = tmp_path / "out"
    kill_a_run(source, output, to)
    assert not output.exists()
    read = json.loads((tmp_path / ".out.partial.json").read_text())["place"][0]
    assert 20 <= read <= 60
    result = run(source, output, "--to", to)
    assert result.exit_code == 0, result.output
    assert f"going on behind record {read}\n" in result.stderr
    assert result.stdout == f"{output}: 100 records\n"
    back = tmp_path / "back"
    assert run(output, back, "--to", "lmdb").exit_code == 0
    assert parsed(read_lmdb(back)) == parsed(read_lmdb(source))
    assert {p.name for p in tmp_path.iterdir()} == {"source", "out", "back"}


@pytest.mark.parametrize("form", ["leveldb", "images", "hdf5", "tfrecord", "list"])
def test_it_goes_on_in_every_source(tmp_path: Path, form: str) -> None:
    database = write_leveldb(
        tmp_path / "leveldb",
        numbered([raw(picture(n, 3, 2, 2), n) for n in range(100)]),
    )
    source = database
    if form in ("images", "list"):
        assert run(database, tmp_path / "source", "--to", "images").exit_code == 0
        source = tmp_path / "source" / ("list.txt" if form == "list" else "")
    elif form != "leveldb":
        source = tmp_path / "source"
        assert run(database, source, "--to", form).exit_code == 0
    kill_a_run(source, tmp_path / "out", "lmdb")
    result = run(source, tmp_path / "out", "--to", "lmdb")
    assert "going on behind record" in result.stderr
    assert run(source, tmp_path / "straight", "--to", "lmdb").exit_code == 0
    assert read_lmdb(tmp_path / "out") == read_lmdb(tmp_path / "straight")


def test_shards_that_have_lost_bytes_do_not_go_on(source: Path, tmp_path: Path) -> None:
    kill_a_run(source, tmp_path / "out", "tfrecord")
    shard = tmp_path / ".out.partial" / "data-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:50])
    result = run(source, tmp_path / "out", "--to", "tfrecord")
    assert result.exit_code == 1
    assert "is shorter than it was: begin anew with --restart" in result.stderr


def test_another_conversion_does_not_go_on(source: Path, tmp_path: Path) -> None:
    kill_a_run(source, tmp_path / "out", "lmdb")
    result = run(source, tmp_path / "out", "--to", "tfrecord")
    assert result.exit_code == 1
    assert "error[other-conversion]" in result.stderr
    result = run(source, tmp_path / "out", "--to", "tfrecord", "--restart")
    assert result.exit_code == 0
    assert "going on" not in result.stderr
    assert result.stdout.endswith("100 records\n")


def test_a_source_that_has_changed_does_not_go_on(source: Path, tmp_path: Path) -> None:
    kill_a_run(source, tmp_path / "out", "lmdb")
    write_lmdb(source, {b"zzz": raw(picture(0, 3, 2, 2))})
    assert (
        "error[other-conversion]"
        in run(source, tmp_path / "out", "--to", "lmdb").stderr
    )


def test_the_output_exists(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    result = run(source, tmp_path / "out", "--to", "lmdb")
    assert result.exit_code == 1
    assert "error[output-exists]" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bad_record_ends_it_without_a_trace(tmp_path: Path) -> None:
    records = numbered([raw(picture(0, 3, 2, 2)), b"\xff", raw(picture(1, 3, 2, 2))])
    source = write_lmdb(tmp_path / "source", records)
    result = run(source, tmp_path / "out", "--to", "tfrecord")
    assert result.exit_code == 1
    assert "record `00000001`: it is not a Datum" in result.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"source"}


def test_what_was_done_before_a_bad_record_is_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("caffe2k.datasets.writer.CHECKPOINT_RECORDS", 2)
    records = numbered([raw(picture(n, 3, 2, 2)) for n in range(5)])
    records[b"00000003"] = b"\xff"
    source = write_lmdb(tmp_path / "source", records)
    result = run(source, tmp_path / "out", "--to", "lmdb")
    assert result.exit_code == 1
    assert ".out.partial: kept; with --skip-bad" in result.stderr
    result = run(source, tmp_path / "out", "--to", "lmdb", "--skip-bad")
    assert "going on behind record 2\n" in result.stderr
    assert result.stdout.endswith("out: 4 records\n")


def test_bad_records_are_left_out_and_counted(tmp_path: Path) -> None:
    records = numbered([raw(picture(0, 3, 2, 2)), b"\xff", raw(picture(1, 3, 2, 2))])
    source = write_lmdb(tmp_path / "source", records)
    result = run(source, tmp_path / "out", "--to", "lmdb", "--skip-bad")
    assert result.exit_code == 0
    assert "record `00000001`: it is not a Datum" in result.stderr
    assert "\n1 bad record left out\n" in result.stderr
    assert list(read_lmdb(tmp_path / "out")) == [b"00000000", b"00000002"]


def test_only_bad_records(tmp_path: Path) -> None:
    source = write_lmdb(tmp_path / "source", {b"a": b"\xff"})
    result = run(source, tmp_path / "out", "--to", "lmdb", "--skip-bad")
    assert result.exit_code == 1
    assert {p.name for p in tmp_path.iterdir()} == {"source"}


ANNOTATED = b"\x0a\x04\x08\x01\x10\x01\x10\x00"


@pytest.mark.parametrize(
    ("to", "datum", "reason"),
    [
        ("tfrecord", ANNOTATED, "fields that Caffe's Datum lacks"),
        ("images", ANNOTATED, "fields that Caffe's Datum lacks"),
        ("images", raw(picture(0, 2, 2, 2)), "2 channels are no image"),
        ("images", Datum(encoded=True, data=b"?"), "not an image"),
        ("hdf5", Datum(channels=1, height=1, width=1, data=b"ab"), "2 values for"),
        (
            "hdf5",
            Datum(channels=1, height=1, width=1, data=b"a", float_data=[1]),
            "both data and float_data",
        ),
    ],
)
def test_what_a_form_cannot_hold(tmp_path: Path, to: str, datum, reason: str) -> None:
    source = write_lmdb(tmp_path / "source", {b"the key": datum})
    result = run(source, tmp_path / "out", "--to", to)
    assert result.exit_code == 1
    assert "record `the key`" in result.stderr
    assert reason in result.stderr


def test_rows_of_hdf5_have_one_shape_and_type(tmp_path: Path) -> None:
    datums = [raw(picture(0, 1, 2, 2)), raw(picture(0, 1, 2, 3))]
    source = write_lmdb(tmp_path / "source", numbered(datums))
    result = run(source, tmp_path / "out", "--to", "hdf5")
    assert "uint8 of 1 x 2 x 3 in an array of uint8 of 1 x 2 x 2" in result.stderr


def test_hdf5_takes_no_encoded_images(tmp_path: Path) -> None:
    records = {b"a": encoded(picture(0, 2, 2, 3), "png")}
    source = write_lmdb(tmp_path / "source", records)
    result = run(source, tmp_path / "out", "--to", "hdf5", "--skip-bad")
    assert result.exit_code == 1
    assert "error[needs-decoding]" in result.stderr
    assert run(source, tmp_path / "out", "--to", "hdf5", "--decode").exit_code == 0


def test_a_list_that_was_edited(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    assert run(source, folder, "--to", "images").exit_code == 0
    text = (folder / "list.txt").read_text()
    (folder / "list.txt").write_text(text.replace(" 7\n", " 8\n"))
    result = run(folder, tmp_path / "out", "--to", "lmdb")
    assert "error[dataset-changed]" in result.stderr
    assert "differ in line 8" in result.stderr
    result = run(folder / "list.txt", tmp_path / "out", "--to", "lmdb")
    assert result.exit_code == 0, result.output


def test_a_changed_image_of_another_size(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    assert run(source, folder, "--to", "images").exit_code == 0
    (folder / "00000003.png").write_bytes(image_file(picture(0, 5, 5, 3), "png"))
    result = run(folder, tmp_path / "out", "--to", "lmdb")
    assert "record `00000003`: 00000003.png is of another size" in result.stderr


def test_keys_out_of_order(tmp_path: Path) -> None:
    """Rather than another order of the records, or one of them lost."""
    writer = LMDBWriter(tmp_path, None)
    writer.write(Record("x", b"b", Datum))
    for key in (b"a", b"b"):
        with pytest.raises(BadRecord, match="order of its keys"):
            writer.write(Record("x", key, Datum))
    writer.close()


def test_progress_is_told(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    conversion = Conversion(open_source(source), tmp_path / "out", "tfrecord")
    conversion.run(lambda done, total: told.append((done, total)))
    assert told == [(n, 100) for n in range(1, 101)]


def test_hdf5data_reads_what_was_converted(source: Path, tmp_path: Path) -> None:
    assert run(source, tmp_path / "out", "--to", "hdf5").exit_code == 0
    reader = HDF5Reader(tmp_path / "out" / "list.txt", 100, ["data", "label"])
    batch = next(iter(reader))
    expected = [d.values() for d in open_source(source).records()]
    assert batch["data"].tolist() == [values.tolist() for values in expected]
    assert batch["label"].tolist() == list(range(100))


def test_imagedata_reads_what_was_converted(source: Path, tmp_path: Path) -> None:
    assert run(source, tmp_path / "out", "--to", "images").exit_code == 0
    reader = ImageListReader(
        tmp_path / "out" / "list.txt", 100, ["data", "label"], root=tmp_path / "out"
    )
    batch = next(iter(reader))
    expected = [d.values() for d in open_source(source).records()]
    assert batch["data"].tolist() == [values.tolist() for values in expected]
    assert batch["label"].tolist() == list(range(100))
