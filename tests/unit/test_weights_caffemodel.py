"""Reading .caffemodel and .binaryproto: every format, and every wrong file."""

import struct
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.schema import caffe_pb2
from caffe2k.weights.blob import Blob, CaffeModel
from caffe2k.weights.caffemodel import read_binaryproto, read_caffemodel
from caffe2k.weights.errors import WeightsError

NETS = Path(__file__).parents[3] / "shared" / "conformance" / "nets"

KERNEL = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
BIAS = np.array([0.5, -0.0, np.nan], np.float32)

Read = Callable[[bytes], CaffeModel]


def varint(value: int) -> bytes:
    low = b""
    while value > 0x7F:
        low += bytes([value & 0x7F | 0x80])
        value >>= 7
    return low + bytes([value])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def shape_field(*dims: int) -> bytes:
    return field(7, field(1, b"".join(map(varint, dims))))


def legacy_shape(*dims: int) -> bytes:
    return b"".join(
        varint(number << 3) + varint(dim) for number, dim in enumerate(dims, 1)
    )


def packed(number: int, values: Sequence[float], kind: str = "f") -> bytes:
    return field(number, struct.pack(f"<{len(values)}{kind}", *values))


def unpacked(values: Sequence[float], tag: bytes = b"\x2d", kind: str = "f") -> bytes:
    return b"".join(tag + struct.pack(f"<{kind}", value) for value in values)


def layer(*blobs: bytes, name: str = "ip") -> bytes:
    """A net of one current layer with these blobs."""
    body = field(1, name.encode()) + field(2, b"InnerProduct")
    return field(100, body + b"".join(field(7, blob) for blob in blobs))


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_bytes(data: bytes) -> CaffeModel:
        path = tmp_path / "x.caffemodel"
        path.write_bytes(data)
        return read_caffemodel(path)

    return read_bytes


def only_blob(model: CaffeModel) -> Blob:
    (found,) = model.layers
    (blob,) = found.blobs
    assert blob is not None
    return blob


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and left.tobytes() == right.tobytes()


def current_net() -> bytes:
    net = caffe_pb2.NetParameter(name="net")
    net.layer.add(name="data", type="Input")
    ip = net.layer.add(name="ip", type="InnerProduct")
    for array in (KERNEL, BIAS):
        blob = ip.blobs.add(data=array.ravel())
        blob.shape.dim.extend(array.shape)
    return net.SerializeToString()


def old_net(version: int) -> bytes:
    net = caffe_pb2.NetParameter(name="net")
    blobs = [
        caffe_pb2.BlobProto(num=1, channels=1, height=3, width=4, data=KERNEL.ravel()),
        caffe_pb2.BlobProto(num=1, channels=1, height=1, width=3, data=BIAS),
    ]
    if version == 1:
        net.layers.add(name="data", type="DATA")
        net.layers.add(name="ip", type="INNER_PRODUCT", blobs=blobs)
    else:
        net.layers.add(layer=caffe_pb2.V0LayerParameter(name="data", type="data"))
        ip = caffe_pb2.V0LayerParameter(name="ip", type="innerproduct", blobs=blobs)
        net.layers.add(layer=ip)
    return net.SerializeToString()


FORMATS = {"current": current_net(), "V1": old_net(1), "V0": old_net(0)}


@pytest.mark.parametrize("version", FORMATS)
def test_all_formats_hold_the_same_net(version: str, read: Read) -> None:
    model = read(FORMATS[version])
    assert model.name == "net"
    assert [(found.name, len(found.blobs)) for found in model.layers] == [
        ("data", 0),
        ("ip", 2),
    ]
    ip = model.layers[1]
    assert ip.type == "InnerProduct"
    for blob, array in zip(ip.blobs, (KERNEL, BIAS), strict=True):
        assert blob is not None
        assert blob.has_shape(array.shape)
        assert blob.legacy == (version != "current")
        got = blob.array()
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        assert same_bits(got.reshape(array.shape), array)


def test_the_types_of_old_layers_get_todays_names(read: Read) -> None:
    net = caffe_pb2.NetParameter()
    net.layers.add(name="a", type=4)
    net.layers.add(name="b", type=21)
    net.layers.add(name="c")
    assert [found.type for found in read(net.SerializeToString()).layers] == [
        "Convolution",
        "SoftmaxWithLoss",
        "",
    ]


def test_in_a_v0_net_only_the_wrapped_layers_count(read: Read) -> None:
    net = caffe_pb2.NetParameter()
    net.layers.add(name="outer").layer.name = "inner"
    net.layers.add(name="unwrapped")
    assert [found.name for found in read(net.SerializeToString()).layers] == [
        "inner",
        "",
    ]


@pytest.mark.parametrize(
    "values",
    [
        packed(5, range(6)),
        unpacked(range(6)),
        packed(5, range(2)) + packed(5, range(2, 6)),
        packed(5, range(1)) + unpacked(range(1, 4)) + packed(5, range(4, 6)),
        unpacked([0]) + packed(6, [9, 9]) + unpacked(range(1, 6)),
        packed(8, range(6), "d"),
        unpacked(range(6), b"\x41", "d"),
        packed(5, [7, 7, 7]) + packed(8, range(6), "d"),
        packed(5, []) + packed(5, range(6)),
        b"\x28\x05" + packed(5, range(6)),
    ],
    ids=[
        "packed",
        "unpacked",
        "split",
        "split and unpacked",
        "with gradients between",
        "double",
        "unpacked double",
        "double outranks float",
        "empty record",
        "field of another type",
    ],
)
def test_values_are_read_however_they_were_written(values: bytes, read: Read) -> None:
    blob = only_blob(read(layer(values + shape_field(2, 3))))
    assert blob.array().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_packed_floats_are_not_copied(read: Read) -> None:
    array = only_blob(read(layer(shape_field(6) + packed(5, range(6))))).array()
    assert not array.flags.owndata
    assert not array.flags.writeable


def test_doubles_beyond_float_become_infinite(read: Read) -> None:
    blob = only_blob(read(layer(shape_field(1) + packed(8, [1e300], "d"))))
    assert blob.array().tolist() == [np.inf]


@pytest.mark.parametrize(
    ("written", "shape", "legacy"),
    [
        (shape_field(6), (6,), False),
        (field(7, field(1, b"\x02")) + field(7, b"\x08\x03"), (2, 3), False),
        (b"", (), False),
        (legacy_shape(1, 1, 1, 6), (1, 1, 1, 6), True),
        (legacy_shape(6), (6, 0, 0, 0), True),
        (shape_field(6) + legacy_shape(1, 1, 2, 3), (1, 1, 2, 3), True),
        (shape_field(0, 2**40), (0, 2**40), False),
    ],
)
def test_shapes_are_caffes(
    written: bytes, shape: tuple[int, ...], legacy: bool, read: Read
) -> None:
    blob = only_blob(read(layer(written)))
    assert (blob.shape, blob.legacy) == (shape, legacy)


@pytest.mark.parametrize(
    ("legacy", "target", "equal"),
    [
        ((1, 1, 1, 6), (6,), True),
        ((1, 1, 2, 3), (2, 3), True),
        ((1, 1, 2, 3), (1, 2, 3), True),
        ((1, 1, 1, 1), (), True),
        ((1, 1, 2, 3), (1, 1, 2, 3), True),
        ((1, 1, 2, 3), (1, 1, 1, 2, 3), False),
        ((1, 1, 2, 3), (3, 2), False),
        ((1, 1, 2, 3), (6,), False),
        ((2, 3, 1, 1), (2, 3), False),
    ],
)
def test_legacy_shapes_are_compared_from_the_end(
    legacy: tuple[int, ...], target: tuple[int, ...], equal: bool, read: Read
) -> None:
    assert only_blob(read(layer(legacy_shape(*legacy)))).has_shape(target) is equal


def test_other_shapes_must_be_equal(read: Read) -> None:
    blob = only_blob(read(layer(shape_field(1, 6))))
    assert blob.has_shape((1, 6))
    assert not blob.has_shape((6,))


def test_a_blob_with_too_few_values_can_not_be_loaded(read: Read) -> None:
    blob = only_blob(read(layer(shape_field(2, 3) + packed(5, range(5)))))
    with pytest.raises(WeightsError) as error:
        blob.array()
    assert str(error.value) == (
        "error[blob-count]: a blob of shape (2, 3) needs 6 values, its file holds 5\n"
        "  = help: the file is damaged; fetch it again"
    )


def test_hdf5_files_may_leave_out_shared_blobs(tmp_path: Path) -> None:
    path = tmp_path / "x.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file["data/ip/1"] = BIAS
        file["data/ip/2"] = h5py.SoftLink("/data/ip/1")
        file["data/ip/3"] = np.arange(3, dtype=np.float64)
        file.create_group("data/relu")
    ip, relu = read_caffemodel(path).layers
    assert ip.name == "ip"
    assert relu.blobs == ()
    first, *others = ip.blobs
    assert first is None
    arrays = [blob.array() for blob in others if blob is not None]
    assert [a.dtype for a in arrays] == [np.float32] * 3
    assert same_bits(arrays[0], BIAS)
    assert same_bits(arrays[1], BIAS)
    assert arrays[2].tolist() == [0, 1, 2]


@pytest.mark.skipif(not NETS.is_dir(), reason="../shared/conformance is not here")
@pytest.mark.parametrize(
    "name",
    ["weights.caffemodel.h5", "weights_v1.caffemodel", "weights_v0.caffemodel"],
)
def test_caffes_own_files_agree(name: str) -> None:
    reference = read_caffemodel(NETS / "lenet" / "weights.caffemodel")
    other = {f.name: f.blobs for f in read_caffemodel(NETS / "lenet" / name).layers}
    compared = 0
    for found in reference.layers:
        pairs = zip(found.blobs, other.get(found.name, ()), strict=True)
        for expected, blob in pairs:
            assert expected is not None
            assert blob is not None
            assert blob.has_shape(expected.shape)
            array = blob.array().reshape(expected.shape)
            assert same_bits(array, expected.array())
            compared += 1
    assert compared == 8


WRONG_FILES = {
    "empty": (
        b"",
        (
            "error[file-empty]: `FILE` is empty\n"
            "  = help: the download or copy failed; fetch it again"
        ),
    ),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        (
            "error[file-is-lfs-pointer]: `FILE` is a Git LFS pointer, not the file itself\n"
            "  = help: run `git lfs pull` in its repository"
        ),
    ),
    "html": (
        b"\n<!DOCTYPE html><title>404</title>",
        (
            "error[file-is-html]: `FILE` is a web page\n"
            "  = help: it was saved from a link to a page; download the file itself"
        ),
    ),
    "prototxt": (
        'name: "LeNet" # \N{LATIN SMALL LETTER U WITH DIAERESIS}\n'.encode() * 200,
        (
            "error[file-is-text]: `FILE` is a text file\n"
            "  = help: this is the place for a binary file; is it the prototxt?"
        ),
    ),
    **{
        f"web page {i}": (
            page,
            (
                "error[file-is-html]: `FILE` is a web page\n"
                "  = help: it was saved from a link to a page; download the file itself"
            ),
        )
        for i, page in enumerate(
            (
                b"\xef\xbb\xbf\r\n<!DOCTYPE HTML>",
                b"<?xml version='1.0'?>\n<!DOCTYPE html>",
                b"<!-- moved --><html lang='en'>",
            )
        )
    },
    "gzip": (
        b"\x1f\x8b\x08\x00rest",
        (
            "error[file-is-compressed]: `FILE` is a gzip archive\n"
            "  = help: unpack it first"
        ),
    ),
    "solverstate": (
        caffe_pb2.SolverState(iter=5, learned_net="x").SerializeToString(),
        (
            "error[file-is-solverstate]: `FILE` is a solverstate: a solver's history, "
            "without the net's weights\n"
            "  = help: give the .caffemodel that was written with it"
        ),
    ),
    "mean file": (
        legacy_shape(1, 3, 1, 1) + packed(5, range(3)),
        (
            "error[file-is-binaryproto]: `FILE` holds a single blob, such as a mean file, "
            "and no layers\n"
            "  = help: give the .caffemodel"
        ),
    ),
    "no layers": (
        field(1, b"net") + b"\x28\x01",
        (
            "error[caffemodel-no-layers]: `FILE` holds no layers\n"
            "  = help: is it a .caffemodel that Caffe wrote?"
        ),
    ),
    "mixed": (
        FORMATS["current"] + FORMATS["V1"],
        (
            "error[caffemodel-mixed-layers]: `FILE` has both `layer` and `layers` fields, "
            "which Caffe refuses\n"
            "  = help: save it anew with one version of Caffe"
        ),
    ),
    "truncated": (
        FORMATS["current"][:60],
        (
            "error[file-truncated]: `FILE` ends too early: a field of 97 bytes at byte 21 "
            "does not fit into 60 bytes\n"
            "  = help: the download or copy was cut short; fetch it again"
        ),
    ),
    "noise": (
        b"\x00\x01\x02\x03",
        (
            "error[file-corrupt]: `FILE` is damaged, or not a caffemodel: field number 0 "
            "at byte 0\n"
            "  = help: fetch it again"
        ),
    ),
    "damaged within": (
        layer(b"\x2a\x09" + bytes(8)),
        (
            "error[file-corrupt]: `FILE` is damaged, or not a caffemodel: a field of "
            "9 bytes at byte 23\n"
            "  = help: fetch it again"
        ),
    ),
    "negative shape": (
        layer(legacy_shape(1, 1, 1, 2**64 - 1)),
        (
            "error[file-corrupt]: `FILE` is damaged, or not a caffemodel: the impossible "
            "shape (1, 1, 1, -1) at byte 23\n"
            "  = help: fetch it again"
        ),
    ),
    "huge shape": (
        layer(shape_field(2**31)),
        (
            "error[file-corrupt]: `FILE` is damaged, or not a caffemodel: the impossible "
            "shape (2147483648,) at byte 23\n"
            "  = help: fetch it again"
        ),
    ),
    "too many axes": (
        layer(shape_field(*[1] * 33)),
        (
            "error[file-corrupt]: `FILE` is damaged, or not a caffemodel: a shape of over "
            "32 axes at byte 23\n"
            "  = help: fetch it again"
        ),
    ),
    "damaged hdf5": (
        b"\x89HDF\r\n\x1a\n" + bytes(40),
        "error[file-corrupt]: `FILE` is damaged, or not HDF5: ",
    ),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_named_for_what_it_is(name: str, tmp_path: Path) -> None:
    data, message = WRONG_FILES[name]
    path = tmp_path / "x.caffemodel"
    path.write_bytes(data)
    with pytest.raises(WeightsError) as error:
        read_caffemodel(path)
    text = str(error.value).replace(str(path), "FILE")
    assert text.startswith(message) if message.endswith(" ") else text == message


@pytest.mark.parametrize("given", ["history", "weights", "blob"])
def test_a_wrong_hdf5_file_is_named_for_what_it_is(given: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        if given == "blob":
            file["data/ip/0"] = b"text"
        else:
            file[f"{given}/0"] = BIAS
    with pytest.raises(WeightsError) as error:
        read_caffemodel(path)
    assert (
        str(error.value).split("\n")[0].replace(str(path), "FILE")
        == {
            "history": "error[file-is-solverstate]: `FILE` is a solverstate: a solver's "
            "history, without the net's weights",
            "weights": "error[caffemodel-no-layers]: `FILE` has no group `data`",
            "blob": "error[file-corrupt]: `FILE`: `/data/ip/0` is not an array of numbers",
        }[given]
    )


def test_a_file_that_can_not_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as missing:
        read_caffemodel(tmp_path / "x")
    assert str(missing.value) == (
        f"error[file-missing]: there is no file `{tmp_path}/x`\n"
        "  = help: a relative path starts in the working directory"
    )
    with pytest.raises(WeightsError) as folder:
        read_caffemodel(tmp_path)
    assert str(folder.value) == (
        f"error[file-unreadable]: can't read `{tmp_path}`: not a file\n"
        "  = help: give the path of the file itself"
    )


@pytest.mark.parametrize(
    "written",
    [legacy_shape(1, 3, 2, 2), shape_field(1, 3, 2, 2)],
    ids=["legacy", "shape"],
)
def test_a_mean_file_is_read_in_its_shape(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(written + packed(5, range(12)))
    assert np.array_equal(
        read_binaryproto(path), np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    )


def test_a_caffemodel_is_no_mean_file(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(FORMATS["current"])
    with pytest.raises(WeightsError) as error:
        read_binaryproto(path)
    assert str(error.value) == (
        f"error[file-not-binaryproto]: `{path}` holds no blob\n"
        "  = help: a mean file is what Caffe's compute_image_mean writes"
    )


def mutations(data: bytes) -> list[bytes]:
    """`data` cut at every byte, and with every byte changed or replaced by a huge length."""
    cut = [data[:end] for end in range(len(data))]
    flipped = [
        data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
        for at in range(len(data))
        for mask in (0x01, 0x04, 0x80, 0xFF)
    ]
    huge = [
        data[:at] + varint(length) + data[at + 1 :]
        for at in range(len(data))
        for length in (2**31 - 1, 2**62)
    ]
    return cut + flipped + huge


@pytest.mark.slow
@pytest.mark.parametrize("version", FORMATS)
def test_damage_never_crashes_or_takes_memory(version: str, read: Read) -> None:
    refused = 0
    tracemalloc.start()
    try:
        for data in mutations(FORMATS[version]):
            try:
                for found in read(data).layers:
                    for blob in found.blobs:
                        if blob is not None:
                            blob.array()
            except WeightsError:
                refused += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused > len(FORMATS[version])
    assert peak < 1 << 20
