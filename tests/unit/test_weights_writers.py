"""What is written: its layout, the same bytes each time, and all of it or nothing."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from caffe2k.schema import caffe_pb2
from caffe2k.weights import caffe_side, slabs
from caffe2k.weights.blob import Blob, CaffeModel, FloatArray, LayerBlobs
from caffe2k.weights.caffe_files import write_caffemodel, write_caffemodel_h5
from caffe2k.weights.caffemodel import read_caffemodel
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.h5 import write_keras_weights, write_legacy_h5
from caffe2k.weights.plan import KerasLayer, LazyArray
from caffe2k.weights.raw_arrays import write_npz, write_safetensors

RNG = np.random.default_rng(0)
KERNEL: FloatArray = RNG.standard_normal((6, 5, 3, 2), np.float32)
BIAS: FloatArray = RNG.standard_normal(6, np.float32)


def blob(array: FloatArray) -> Blob:
    return Blob(array.shape, array.size, load=lambda: array)


MODEL = CaffeModel(
    "net",
    (
        LayerBlobs("conv", "Convolution", (blob(KERNEL), blob(BIAS))),
        LayerBlobs("relu", "ReLU", ()),
        LayerBlobs("scalar", "Scale", (blob(np.float32(0.5).reshape(())),)),
    ),
)
ARRAYS = caffe_side.arrays_of(MODEL.layers)
LAYERS = (KerasLayer("conv", (LazyArray("kernel", (6, 30), lambda: KERNEL),)),)

Write = Callable[..., None]

WRITERS: dict[str, Callable[..., None]] = {
    "x.h5": lambda path, **how: write_legacy_h5(path, LAYERS, **how),
    "x.weights.h5": lambda path, **how: write_keras_weights(
        path, LAYERS, {"conv": "layers/dense"}, **how
    ),
    "x.npz": lambda path, **how: write_npz(path, ARRAYS, **how),
    "x.safetensors": lambda path, **how: write_safetensors(path, ARRAYS, **how),
    "x.caffemodel": lambda path, **how: write_caffemodel(path, MODEL, {}, **how),
    "x.caffemodel.h5": lambda path, **how: write_caffemodel_h5(path, MODEL, (), **how),
}


def test_npz_is_numpys(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", ARRAYS)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert list(found) == ["conv/0", "conv/1", "scalar/0"]
        assert found["conv/0"].tobytes() == KERNEL.tobytes()
        assert found["conv/0"].shape == KERNEL.shape
        assert found["scalar/0"].shape == ()


def test_safetensors_has_a_header_and_the_values(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x.safetensors", ARRAYS)
    data = (tmp_path / "x.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    assert size % 8 == 0
    assert data[8 : 8 + size].rstrip() == (
        b'{"conv/0":{"dtype":"F32","shape":[6,5,3,2],"data_offsets":[0,720]},'
        b'"conv/1":{"dtype":"F32","shape":[6],"data_offsets":[720,744]},'
        b'"scalar/0":{"dtype":"F32","shape":[],"data_offsets":[744,748]}}'
    )
    assert data[8 + size :] == KERNEL.tobytes() + BIAS.tobytes() + struct.pack("f", 0.5)


def test_names_that_are_no_utf_8_are_escaped(tmp_path: Path) -> None:
    array = LazyArray("caf\udce9/0", BIAS.shape, lambda: BIAS)
    write_npz(tmp_path / "x.npz", [array])
    with np.load(tmp_path / "x.npz") as npz:
        assert npz.files == [r"caf\xe9/0"]
    write_safetensors(tmp_path / "x.safetensors", [array])
    assert rb'"caf\\xe9/0"' in (tmp_path / "x.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["a/b", "", ".", "a\0b", "caf\udce9"])
def test_not_every_name_can_be_in_hdf5(name: str, tmp_path: Path) -> None:
    model = CaffeModel("net", (LayerBlobs(name, "Scale", (blob(BIAS),)),))
    with pytest.raises(WeightsError, match="hdf5-layer-name"):
        write_caffemodel_h5(tmp_path / "x.caffemodel.h5", model, ())


def test_a_caffemodel_is_what_protobuf_reads(tmp_path: Path) -> None:
    definition = caffe_pb2.LayerParameter(name="conv", type="Convolution", top=["x"])
    definition.convolution_param.num_output = 6
    write_caffemodel(tmp_path / "x", MODEL, {"conv": definition.SerializeToString()})
    net = caffe_pb2.NetParameter()
    net.ParseFromString((tmp_path / "x").read_bytes())
    assert net.name == "net"
    assert [layer.name for layer in net.layer] == ["conv", "relu", "scalar"]
    conv, relu, scalar = net.layer
    assert conv.convolution_param.num_output == 6
    assert relu.type == "ReLU"
    assert list(conv.blobs[0].shape.dim) == [6, 5, 3, 2]
    assert np.array_equal(conv.blobs[0].data, KERNEL.ravel())
    assert np.array_equal(conv.blobs[1].data, BIAS)
    assert not scalar.blobs[0].HasField("shape"), "as Caffe writes it"


@pytest.mark.parametrize("name", ["x.caffemodel", "x.caffemodel.h5"])
def test_caffemodels_are_read_again(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    found = {
        layer.name: layer.blobs for layer in read_caffemodel(tmp_path / name).layers
    }
    assert found.keys() == {"conv", "relu", "scalar"}
    for layer in MODEL.layers:
        for ours, theirs in zip(layer.blobs, found[layer.name], strict=True):
            assert ours is not None
            assert theirs is not None
            assert ours.shape == theirs.shape
            assert ours.array().tobytes() == theirs.array().tobytes()


def test_shared_blobs_are_left_out_of_hdf5_files(tmp_path: Path) -> None:
    write_caffemodel_h5(tmp_path / "x", MODEL, {("conv", 1)})
    with h5py.File(tmp_path / "x") as file:
        assert list(file["data/conv"]) == ["0"]


def test_keras_weights_lie_in_groups_of_classes(tmp_path: Path) -> None:
    WRITERS["x.weights.h5"](tmp_path / "x.weights.h5")
    with h5py.File(tmp_path / "x.weights.h5") as file:
        found = file["layers/dense/vars"]
        assert found.attrs["name"] == "conv"
        assert found["0"].shape == (6, 30)
        assert np.array_equal(found["0"], KERNEL.reshape(6, 30))


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_weights_are_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](tmp_path / name)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr(slabs, "_SLAB_BYTES", 64)
    other = tmp_path / "other"
    other.mkdir()
    os.utime(tmp_path / name, (1, 1))
    WRITERS[name](other / name)
    assert (tmp_path / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("name", WRITERS)
def test_the_bytes_do_not_depend_on_the_hour(name: str, tmp_path: Path) -> None:
    """libhdf5 has its own clock: another process, which believes in another year."""
    WRITERS[name](tmp_path / name)
    with h5py.File(tmp_path / "clock.h5", "w") as file:
        data = file.create_dataset("x", data=BIAS, track_times=True)
        stamp = h5py.h5g.get_objinfo(data.id).mtime
    if name.endswith(".h5"):
        with h5py.File(tmp_path / name) as file:
            found: list[int] = []
            file.visititems(
                lambda _, item: found.append(h5py.h5g.get_objinfo(item.id).mtime)
            )
        assert stamp > 0
        assert set(found) == {0}


@pytest.mark.parametrize("name", WRITERS)
def test_progress_ends_at_the_total(name: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    WRITERS[name](tmp_path / name, on_progress=lambda *now: seen.append(now))
    assert seen[-1][0] == seen[-1][1] > 0
    assert seen == sorted(seen)


@pytest.mark.parametrize("name", WRITERS)
def test_an_existing_file_is_kept_unless_forced(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    with pytest.raises(WeightsError, match="output-exists"):
        WRITERS[name](path)
    assert path.read_bytes() == b"old"
    WRITERS[name](path, force=True)
    assert path.read_bytes() != b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_is_never_replaced(
    make: Callable[[Path], None], force: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.npz"
    make(path)
    with pytest.raises(WeightsError, match=r"output-unwritable.*is not a file"):
        WRITERS["x.npz"](path, force=force)
    assert not path.is_file()
    assert list(tmp_path.iterdir()) == [path]


def kill(done: int, total: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("old", [b"old", None])
@pytest.mark.parametrize("name", WRITERS)
def test_a_killed_write_leaves_the_old_file_or_none(
    name: str, old: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    if old is not None:
        path.write_bytes(old)
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.unit import test_weights_writers as here\n"
        "path = Path(sys.argv[1])\n"
        "here.WRITERS[path.name](path, force=True, on_progress=here.kill)\n"
    )
    command = [sys.executable, "-c", code, os.fspath(path)]
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run(command, check=False, cwd=root)
    assert killed.returncode == -signal.SIGKILL
    assert (path.read_bytes() if path.exists() else None) == old


VIEWS: dict[str, Any] = {
    "scalar": np.float32(3).reshape(()),
    "empty": np.zeros((0, 3), np.float32),
    "empty and transposed": np.zeros((5, 0, 7), np.float32).transpose(2, 1, 0),
    "contiguous": RNG.standard_normal((40, 7, 5), np.float32),
    "doubles": RNG.standard_normal((40, 7)),
    "halves": RNG.standard_normal((40, 300)).astype(np.float16),
    "transposed": RNG.standard_normal((700, 30), np.float32).T,
    "few rows": RNG.standard_normal((40, 70, 7, 7), np.float32).transpose(2, 3, 1, 0),
    "inner axes": RNG.standard_normal((5, 6, 7, 8), np.float32).transpose(0, 3, 1, 2),
    "ones": RNG.standard_normal((1, 30, 1, 20), np.float32).transpose(3, 0, 1, 2),
    "reversed": RNG.standard_normal((30, 20), np.float32)[::-1],
    "repeated": np.broadcast_to(np.float32(2), (30, 20)),
}


@pytest.mark.parametrize("slab", [8, 256, 4096, 1 << 20])
@pytest.mark.parametrize("kind", VIEWS)
def test_any_view_is_written_in_order(
    kind: str, slab: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "_SLAB_BYTES", slab)
    values = VIEWS[kind]
    expected = np.ascontiguousarray(values, np.float32).tobytes()
    array = LazyArray("x", values.shape, lambda: values)
    with open(tmp_path / "x", "w+b") as file:
        file.write(b"head")
        slabs.write_values(file, [(4, array)], None)
        file.seek(4 + array.nbytes)
        file.write(b"tail")
        file.seek(0)
        assert file.read() == b"head" + expected + b"tail"
    pieces = [np.asarray(piece).tobytes() for piece in slabs.in_order(values)]
    assert b"".join(pieces) == expected


def anonymous_memory() -> int:
    """The bytes of this process that are no file's."""
    status = Path("/proc/self/status").read_text()
    (line,) = (x for x in status.splitlines() if x.startswith("RssAnon"))
    return int(line.split()[1]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_large_kernel_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    shape = (6000, 512, 7, 7)
    with open(tmp_path / "values", "wb") as file:
        file.truncate(4 * int(np.prod(shape)))
    mapped = np.memmap(tmp_path / "values", np.float32, "r", shape=shape)
    kernel = LazyArray("kernel", (49 * 512, 6000), lambda: mapped.transpose(2, 3, 1, 0))
    before, most = anonymous_memory(), 0

    def watch(done: int, total: int) -> None:
        nonlocal most
        most = max(most, anonymous_memory())

    write_legacy_h5(tmp_path / "x.h5", [KerasLayer("ip", (kernel,))], on_progress=watch)
    assert (tmp_path / "x.h5").stat().st_size > kernel.nbytes > 600e6
    assert 0 < most - before < 80e6
