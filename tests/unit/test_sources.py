"""Shapes that data layers get from their data, and what is said where they get none."""

import sys
from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np
import plyvel
import pytest

from caffe2k.diagnostics import Diagnostics, SourceFile, SourceSpan
from caffe2k.ir.net import Blob, Layer
from caffe2k.schema import caffe_pb2
from caffe2k.schema.message import Entry, Message
from caffe2k.sources import DataFiles
from caffe2k.sources.errors import SourceError

TEXT = SourceFile("net.prototxt", "source crop_size new_height force_gray")


def message(type_name, **fields):
    """A message whose fields stand in TEXT where their name does."""
    made = Message(type_name)
    for name, value in fields.items():
        start = TEXT.text.find(name)
        span = SourceSpan(TEXT, start, start + len(name)) if start >= 0 else None
        made.add(name, Entry(value, span))
    return made


def layer(type, field, param, tops=("data", "label"), **transform):
    messages = {
        "type": type,
        field: param,
        "transform_param": message("TransformationParameter", **transform),
    }
    blobs = tuple(Blob(top) for top in tops)
    return Layer(0, "data", type, (), blobs, message("LayerParameter", **messages))


def database(backend="LMDB", source="db", tops=("data", "label"), **transform):
    param = message("DataParameter", source=source, batch_size=7, backend=backend)
    return layer("Data", "data_param", param, tops, **transform)


def image_list(tops=("data", "label"), crop_size=0, **settings):
    param = message("ImageDataParameter", source="list.txt", batch_size=7, **settings)
    return layer("ImageData", "image_data_param", param, tops, crop_size=crop_size)


def hdf5(tops=("data", "label")):
    param = message("HDF5DataParameter", source="list.txt", batch_size=7)
    return layer("HDF5Data", "hdf5_data_param", param, tops)


@pytest.fixture
def probe(tmp_path):
    """Gives the shapes of a layer and the one diagnostic: severity, code, place."""

    def run(layer):
        diagnostics = Diagnostics()
        try:
            shapes = DataFiles(tmp_path, diagnostics).of(layer)
        except SourceError as e:
            shapes = None
            diagnostics.error(e.code, e.message, e.span, help=e.help)
        found = list(diagnostics)
        for diagnostic in found:
            assert str(tmp_path) not in diagnostic.render()
        if not found:
            return shapes
        (one,) = found
        assert shapes is None
        place = one.span and TEXT.text[one.span.start : one.span.end]
        return one.severity.value, one.code, place, one.message

    return run


def write(path, backend, value):
    if backend == "LMDB":
        with (
            lmdb.open(str(path), map_size=1 << 20) as environment,
            environment.begin(write=True) as transaction,
        ):
            transaction.put(b"0", value)
    else:
        opened = plyvel.DB(str(path), create_if_missing=True)
        opened.put(b"0", value)
        opened.close()


RAW = caffe_pb2.Datum(channels=3, height=8, width=9, data=bytes(216))


def encoded(*shape):
    pixels = cv2.imencode(".png", np.zeros(shape, np.uint8))[1].tobytes()
    return caffe_pb2.Datum(encoded=True, data=pixels).SerializeToString()


@pytest.mark.parametrize("backend", ["LMDB", "LEVELDB"])
def test_first_record(tmp_path, probe, backend):
    write(tmp_path / "db", backend, RAW.SerializeToString())
    before = {file.name: file.read_bytes() for file in (tmp_path / "db").iterdir()}
    assert probe(database(backend)) == ((7, 3, 8, 9), (7,))
    assert probe(database(backend, tops=["data"])) == ((7, 3, 8, 9),)
    assert probe(database(backend, crop_size=5)) == ((7, 3, 5, 5), (7,))
    after = {file.name: file.read_bytes() for file in (tmp_path / "db").iterdir()}
    assert after == before


def test_encoded_record(tmp_path, probe):
    write(tmp_path / "db", "LMDB", encoded(4, 5, 3))
    assert probe(database())[0] == (7, 3, 4, 5)
    assert probe(database(force_gray=True))[0] == (7, 1, 4, 5)
    refused = probe(database(force_gray=True, force_color=True))
    assert refused[:3] == ("error", "color-and-gray", "force_gray")


def test_encoded_grey_record(tmp_path, probe):
    write(tmp_path / "db", "LMDB", encoded(4, 5))
    assert probe(database())[0] == (7, 1, 4, 5)
    assert probe(database(force_color=True))[0] == (7, 3, 4, 5)


def test_a_crop_that_is_too_large_is_an_error(tmp_path, probe):
    write(tmp_path / "db", "LMDB", RAW.SerializeToString())
    assert probe(database(crop_size=9)) == (
        "error",
        "crop-too-large",
        "crop_size",
        "crop_size 9 is larger than the first image, 8 x 9",
    )


@pytest.mark.parametrize("source", ["db", "\0", "x" * 10_000, "../none"])
def test_missing_data_is_a_warning(probe, source):
    assert probe(database(source=source))[:3] == ("warning", "data-missing", "source")


@pytest.mark.parametrize("backend", ["LMDB", "LEVELDB"])
@pytest.mark.parametrize("name", ["data.mdb", "CURRENT"])
def test_a_folder_that_is_no_database(tmp_path, probe, backend, name):
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / name).write_text("something else" * 1000)
    found = probe(database(backend))
    assert found[:3] == ("warning", "data-unreadable", "source")
    assert found[3].startswith("cannot read `db`: ")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"\xff\xff", "its first record is not a Datum"),
        (b"", "its first record has no shape"),
        (
            caffe_pb2.Datum(encoded=True, data=b"no image").SerializeToString(),
            "not an image that can be decoded",
        ),
        (
            caffe_pb2.Datum(encoded=True).SerializeToString(),
            "not an image that can be decoded",
        ),
    ],
)
def test_records_that_give_no_shape(tmp_path, probe, record, reason):
    write(tmp_path / "db", "LMDB", record)
    found = ("warning", "data-unreadable", "source", f"cannot read `db`: {reason}")
    assert probe(database()) == found


def test_an_empty_database(tmp_path, probe):
    lmdb.open(str(tmp_path / "db"), map_size=1 << 20).close()
    assert probe(database())[3] == "cannot read `db`: it holds no records"


@pytest.mark.parametrize(
    ("module", "backend"), [("lmdb", "LMDB"), ("plyvel", "LEVELDB"), ("cv2", "LMDB")]
)
def test_a_library_that_is_not_installed(tmp_path, probe, monkeypatch, module, backend):
    write(tmp_path / "db", backend, encoded(4, 5, 3))
    monkeypatch.setitem(sys.modules, module, None)
    found = probe(database(backend))
    assert found[:3] == ("warning", "data-library-missing", "source")
    assert f"the module {module} is not installed" in found[3]


def test_first_image_of_a_list(tmp_path, probe):
    cv2.imwrite(str(tmp_path / "an image.png"), np.zeros((4, 5, 3), np.uint8))
    (tmp_path / "list.txt").write_text("image.png 3\nnone.png 4\n")
    assert probe(image_list(root_folder="an ")) == ((7, 3, 4, 5), (7,))
    assert probe(image_list(root_folder="an ", is_color=False))[0] == (7, 1, 4, 5)
    assert probe(image_list(root_folder="an ", crop_size=2))[0] == (7, 3, 2, 2)
    missing = probe(image_list())
    assert missing[:3] == ("warning", "data-missing", "source")
    assert missing[3].startswith("`image.png`, named in `list.txt`, is not there")


def test_resized_images_need_no_data(probe):
    resized = image_list(new_height=6, new_width=5, is_color=False)
    assert probe(resized) == ((7, 1, 6, 5), (7,))
    found = probe(image_list(new_height=6))
    assert found[:3] == ("error", "resize-one-side", "new_height")


def test_hdf5_rows(tmp_path, probe):
    (tmp_path / "list.txt").write_text("a.h5\nnone.h5\n")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((4, 2, 3))
        file["label"] = np.zeros(4, np.int64)
        file["other"] = np.zeros((5, 2))
        file["text"] = [b"a"] * 4
    assert probe(hdf5()) == ((7, 2, 3), (7,))
    assert probe(hdf5(["label"])) == ((7,),)
    assert probe(hdf5(["data", "other"]))[:3] == ("error", "data-refused", "source")
    for top in ("text", "none"):
        assert probe(hdf5([top]))[3] == f"`a.h5` has no array of numbers called `{top}`"


def test_hdf5_files_that_cannot_be_read(tmp_path, probe):
    assert probe(hdf5())[1] == "data-missing"
    (tmp_path / "list.txt").write_text("a.h5")
    assert probe(hdf5())[3].startswith("`a.h5`, named in `list.txt`, is not there")
    (tmp_path / "a.h5").write_text("something else")
    assert probe(hdf5())[:3] == ("warning", "data-unreadable", "source")
    (tmp_path / "list.txt").write_text("\n")
    assert probe(hdf5())[:2] == ("error", "data-refused")


def test_other_layers_have_no_source(probe):
    assert probe(layer("Input", "data_param", message("DataParameter"))) is None


def test_nothing_heavy_is_imported():
    code = "import caffe2k.sources, sys; print(*sys.modules)"
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    heavy = {"numpy", "cv2", "h5py", "lmdb", "plyvel", "keras", "tensorflow"}
    assert not heavy & set(done.stdout.split())


def test_windows_have_the_size_of_the_crop(tmp_path, probe):
    param = message("WindowDataParameter", source="windows.txt", batch_size=7)
    windows = layer("WindowData", "window_data_param", param, crop_size=9)
    missing = "`windows.txt` is not there: no shape can be read from it"
    assert probe(windows) == ("warning", "data-missing", "source", missing)
    (tmp_path / "windows.txt").touch()
    assert probe(windows) == ((7, 3, 9, 9), (7,))
