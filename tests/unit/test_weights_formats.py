"""Reading what is rare: halves, links, large files, files that lie about their size."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.schema import caffe_pb2
from caffe2k.schema.binary import parse, serialize
from caffe2k.weights import wire
from caffe2k.weights.caffemodel import read_binaryproto, read_caffemodel
from caffe2k.weights.contents import read_contents
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.keras_files import is_keras_file, read_keras_file
from caffe2k.weights.net_definition import read_definition, restore
from tests.unit.weight_files import VALUES, code_of, keras_h5, one_layer, shared_h5

TESTS = Path(__file__).resolve().parents[1]
CASES = TESTS / "conformance" / "solvers"


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (caffe_pb2.DOUBLE, "<f8"),
        (caffe_pb2.FLOAT, "<f4"),
        (caffe_pb2.FLOAT16, "<f2"),
        (caffe_pb2.INT, "<i4"),
        (caffe_pb2.UINT, "<u4"),
        (caffe_pb2.BOOL, "?"),
    ],
)
def test_nvidias_raw_data_outranks_the_rest(
    kind: int, dtype: str, tmp_path: Path
) -> None:
    values = VALUES if dtype.startswith("<f") else np.abs(VALUES).round()
    expected = values.astype(dtype)
    blob = caffe_pb2.BlobProto(raw_data_type=kind, raw_data=expected.tobytes())
    blob.shape.dim.extend(VALUES.shape)
    blob.data.append(9)
    net = caffe_pb2.NetParameter()
    net.layer.add(name="ip", blobs=[blob])
    (tmp_path / "x").write_bytes(net.SerializeToString())
    (found,) = read_caffemodel(tmp_path / "x").layers[0].blobs
    assert found is not None
    assert found.array().dtype == np.float32
    assert np.array_equal(found.array(), expected.astype(np.float32))
    (tmp_path / "mean").write_bytes(blob.SerializeToString())
    assert np.array_equal(read_binaryproto(tmp_path / "mean"), found.array())


@pytest.mark.parametrize(("kind", "size"), [(2, 3), (9, 4)])
def test_raw_data_of_no_type_or_length_is_damaged(
    kind: int, size: int, tmp_path: Path
) -> None:
    raw = wire.tag(10, wire.VARINT) + wire.varint(kind)
    raw += wire.tag(12, wire.LENGTH) + wire.varint(size) + bytes(size)
    layer = wire.tag(7, wire.LENGTH) + wire.varint(len(raw)) + raw
    net = wire.tag(100, wire.LENGTH) + wire.varint(len(layer)) + layer
    (tmp_path / "x").write_bytes(net)
    with pytest.raises(WeightsError) as error:
        read_caffemodel(tmp_path / "x")
    assert code_of(error) == "file-corrupt"


def test_a_file_of_over_2_gb_is_read_where_it_lies(tmp_path: Path) -> None:
    count = 600 << 20
    data = wire.tag(5, wire.LENGTH) + wire.varint(4 * count)
    dims = wire.varint(count)
    shape = wire.tag(1, wire.LENGTH) + wire.varint(len(dims)) + dims
    blob = wire.tag(7, wire.LENGTH) + wire.varint(len(shape)) + shape + data
    head = wire.tag(7, wire.LENGTH) + wire.varint(len(blob) + 4 * count) + blob
    start = wire.tag(100, wire.LENGTH) + wire.varint(len(head) + 4 * count) + head
    path = tmp_path / "x.caffemodel"
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(len(start) + 4 * count)
        file.seek(-4, os.SEEK_END)
        file.write(np.float32(1.5).tobytes())
    (found,) = read_caffemodel(path).layers[0].blobs
    assert found is not None
    assert found.shape == (count,)
    assert found.array()[-1] == 1.5


def test_links_and_packed_data_sets_are_read(tmp_path: Path) -> None:
    shared_h5(tmp_path / "x.h5")
    layers = read_caffemodel(tmp_path / "x.h5").layers
    assert [layer.name for layer in layers] == [
        "a",
        "big_endian",
        "hard",
        "packed",
        "soft",
    ]
    for layer in layers:
        (blob,) = layer.blobs
        assert blob is not None
        assert np.array_equal(blob.array(), VALUES), layer.name


def test_contiguous_data_sets_are_views_of_the_file(tmp_path: Path) -> None:
    shared_h5(tmp_path / "x.h5")
    (blob,) = read_caffemodel(tmp_path / "x.h5").layers[0].blobs
    assert blob is not None
    assert not blob.array().flags.owndata


def test_other_files_are_not_opened(tmp_path: Path) -> None:
    shared_h5(tmp_path / "other.h5")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data/a/0"] = h5py.ExternalLink("other.h5", "/data/a/0")
    with pytest.raises(WeightsError, match="stands in another file"):
        read_caffemodel(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_dataset(
            "data/a/0", (2, 3), "f4", external=[(str(tmp_path / "other.h5"), 0, 24)]
        )
    with pytest.raises(WeightsError, match="is not stored in the file"):
        read_caffemodel(tmp_path / "y.h5")


@pytest.mark.parametrize("chunks", [None, (1024, 1024)])
def test_a_data_set_larger_than_its_file_is_damaged(
    chunks: tuple[int, ...] | None, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data/a/0", (2**20, 2**20), "f4", chunks=chunks)
    with pytest.raises(WeightsError, match="is not stored in the file"):
        read_caffemodel(tmp_path / "x.h5")


def test_a_cut_hdf5_file_is_named_so(tmp_path: Path) -> None:
    shared_h5(tmp_path / "x.h5")
    data = (tmp_path / "x.h5").read_bytes()
    (tmp_path / "x.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError) as error:
        read_caffemodel(tmp_path / "x.h5")
    assert code_of(error) == "file-truncated"


def test_the_solver_cases_snapshots_are_read() -> None:
    kinds = {
        path.name: read_contents(path).kind
        for path in CASES.glob("*/*")
        if path.name.endswith((".caffemodel", ".solverstate", ".h5"))
    }
    assert len(kinds) > 5
    for name, kind in kinds.items():
        assert kind == ("solverstate" if ".solverstate" in name else "caffemodel")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_weights_in_a_keras_archive_are_read(
    compression: int, tmp_path: Path
) -> None:
    keras_h5(tmp_path / "x.weights.h5")
    with h5py.File(tmp_path / "x.weights.h5", "a") as file:
        # Larger than the archive is, where that is compressed.
        group = file.create_group("layers/embedding/vars")
        group.attrs["name"] = "embed"
        group.create_dataset("0", data=np.zeros(2**16, "f4"), chunks=(2**16,))
    with zipfile.ZipFile(tmp_path / "x.keras", "w", compression) as archive:
        archive.writestr("config.json", "{}")
        archive.write(tmp_path / "x.weights.h5", "model.weights.h5")
    for name in ("x.weights.h5", "x.keras"):
        assert is_keras_file(tmp_path / name)
        found = read_keras_file(tmp_path / name)
        assert list(found) == ["ip", "embed"]
        assert np.array_equal(found["ip"][0].array(), VALUES)
        assert not found["embed"][0].array().any()


@pytest.mark.parametrize("name", ["data", "layers", "model_weights"])
def test_a_keras_layer_may_be_called_anything(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        one_layer(file, name)
    assert is_keras_file(tmp_path / "x.h5")
    assert list(read_keras_file(tmp_path / "x.h5")) == [name]


def test_the_weights_of_a_whole_model_are_read(tmp_path: Path) -> None:
    """As `model.save("x.h5")` writes it."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        one_layer(file.create_group("model_weights"), "ip")
        file.create_group("optimizer_weights")
    assert is_keras_file(tmp_path / "x.h5")
    assert list(read_keras_file(tmp_path / "x.h5")) == ["ip"]


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    keras_h5(tmp_path / "x.weights.h5")
    path = tmp_path / "x.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "x.weights.h5", "model.weights.h5")
    data = bytearray(path.read_bytes())
    data[60:120] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(WeightsError) as error:
        read_keras_file(path)
    assert code_of(error) == "file-corrupt"


def test_other_archives_are_not_kerass(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("lenet.caffemodel", b"x")
    assert not_keras_error(tmp_path / "x.zip") == "file-is-compressed"


def not_keras_error(path: Path) -> str:
    with pytest.raises(WeightsError) as error:
        is_keras_file(path)
    return code_of(error)


def test_the_net_in_a_caffemodel_is_the_one_that_caffe_was_given(
    tmp_path: Path,
) -> None:
    net = caffe_pb2.NetParameter(name="net")
    data = net.layer.add(name="data", type="Data", top=["data"], phase="TRAIN")
    data.include.add(phase="TRAIN")
    split = net.layer.add(name="data_data_0_split", type="Split", bottom=["data"])
    split.top.extend(["data_data_0_split_0", "data_data_0_split_1"])
    ip = net.layer.add(name="ip", type="InnerProduct", top=["ip"])
    ip.bottom.append("data_data_0_split_0")
    ip.blobs.add(data=[1, 2, 3])
    own = net.layer.add(name="own_split", type="Split", bottom=["ip"])
    own.top.extend(["p", "q"])
    add = net.layer.add(name="add", type="Eltwise", top=["sum"])
    add.bottom.extend(["data_data_0_split_1", "p"])
    (tmp_path / "x.caffemodel").write_bytes(net.SerializeToString())
    found = read_definition(tmp_path / "x.caffemodel")
    restore(found)
    assert [(la.name, la.bottom) for la in found.layer] == [
        ("data", []),
        ("ip", ["data"]),
        ("own_split", ["ip"]),
        ("add", ["data", "p"]),
    ]
    assert not any(la.include or la.has("phase") or la.blobs for la in found.layer)


def test_the_net_is_written_as_it_was_read() -> None:
    lenet = TESTS.parent / "samples" / "digits_lenet" / "lenet_iter_400.caffemodel"
    net = read_definition(lenet)
    again = parse("NetParameter", serialize(net))
    assert len(net.layer) == 9
    assert again.same_values(net)


def test_text_that_is_no_utf_8_is_kept() -> None:
    name = wire.tag(1, wire.LENGTH) + wire.varint(3) + b"a\xffb"
    net = parse("NetParameter", name)
    assert net.name == "a\udcffb"
    assert parse("NetParameter", serialize(net)).name == "a\ufffdb"


def test_what_is_no_message_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"."):
        parse("NetParameter", b"\x0b\x01")
