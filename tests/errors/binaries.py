"""Binary files of the cases: weights, means, databases and images, each a few bytes."""

from __future__ import annotations

import fcntl
import gzip
import math
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np
from google.protobuf.message import Message

from caffe2k.schema.caffe_pb2 import (
    BlobProto,
    BlobShape,
    Datum,
    LayerParameter,
    NetParameter,
    SolverState,
)
from caffe2k.weights import wire

BINARIES: dict[str, Callable[[Path], None]] = {}
"""Case -> what writes its binary files into a folder."""


def binary(*cases: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Registers what writes the binary files of some cases."""

    def register(write: Callable[[Path], None]) -> Callable[[Path], None]:
        BINARIES.update(dict.fromkeys(cases, write))
        return write

    return register


def blob(*shape: int, stored: int | None = None) -> BlobProto:
    """A blob of a shape, which may hold another number of values."""
    count = math.prod(shape) if stored is None else stored
    return BlobProto(shape=BlobShape(dim=shape), data=[0.5] * count)


def net(**layers: list[BlobProto]) -> NetParameter:
    """The net in a caffemodel, from the blobs of its layers."""
    made = [
        LayerParameter(name=name, type="InnerProduct", blobs=blobs)
        for name, blobs in layers.items()
    ]
    return NetParameter(name="net", layer=made)


IP1 = [blob(5, 192), blob(5)]
IP2 = [blob(2, 5), blob(2)]


def caffemodel(folder: Path, message: Message) -> None:
    (folder / "lenet.caffemodel").write_bytes(message.SerializeToString())


def mean(folder: Path, message: Message) -> None:
    (folder / "mean.binaryproto").write_bytes(message.SerializeToString())


@binary("binary-file")
def binary_net(folder: Path) -> None:
    (folder / "net.prototxt").write_bytes(net(ip1=IP1, ip2=IP2).SerializeToString())


@binary(
    "output-name-keras",
    "opencv-missing",
    "output-exists-weights",
    "output-name",
    "output-unwritable-weights",
    "reference-missing",
    "reference-unreadable",
)
def whole(folder: Path) -> None:
    caffemodel(folder, net(ip1=IP1, ip2=IP2))


@binary("weights-missing")
def one_layer(folder: Path) -> None:
    caffemodel(folder, net(ip1=IP1))


@binary("weights-unused")
def three_layers(folder: Path) -> None:
    caffemodel(folder, net(ip1=IP1, ip2=IP2, ip3=[blob(3, 2), blob(3)]))


@binary("weights-mismatched")
def other_shape(folder: Path) -> None:
    caffemodel(folder, net(ip1=IP1, ip2=[blob(10, 5), blob(10)]))


@binary("weights-mismatched-blobs")
def without_bias(folder: Path) -> None:
    caffemodel(folder, net(ip1=IP1, ip2=IP2[:1]))


@binary("caffemodel-mixed-layers")
def both_kinds_of_layers(folder: Path) -> None:
    message = net(ip1=IP1)
    message.layers.add(name="ip2", blobs=IP2)
    caffemodel(folder, message)


@binary("caffemodel-no-layers")
def no_layers(folder: Path) -> None:
    caffemodel(folder, NetParameter(name="net"))


@binary("file-truncated")
def truncated(folder: Path) -> None:
    data = net(ip1=IP1, ip2=IP2).SerializeToString()
    (folder / "lenet.caffemodel").write_bytes(data[:1000])


@binary("file-corrupt")
def corrupt(folder: Path) -> None:
    (folder / "lenet.caffemodel").write_bytes(b"\x0f" * 100)


@binary("file-is-solverstate")
def solverstate(folder: Path) -> None:
    caffemodel(folder, SolverState(iter=100, learned_net="x", history=IP1))


def solver_snapshot(folder: Path, state: Message, caffemodel: bool = True) -> None:
    """A state, and the weights of the one layer that its net has."""
    state_file = folder / "net_iter_10.solverstate"
    state_file.write_bytes(state.SerializeToString())
    if caffemodel:
        weights = net(ip1=[blob(5, 3), blob(5)]).SerializeToString()
        (folder / "net_iter_10.caffemodel").write_bytes(weights)


@binary("file-not-solverstate")
def no_state(folder: Path) -> None:
    solver_snapshot(folder, net(ip1=IP1))


@binary("learned-net-missing")
def state_alone(folder: Path) -> None:
    state = SolverState(iter=10, learned_net="out/net_iter_10.caffemodel")
    solver_snapshot(folder, state, caffemodel=False)


@binary("history-count")
def half_a_history(folder: Path) -> None:
    state = SolverState(iter=10, learned_net="net_iter_10.caffemodel")
    state.history.append(blob(5, 3))
    solver_snapshot(folder, state)


@binary("history-shape")
def other_history(folder: Path) -> None:
    state = SolverState(iter=10, learned_net="net_iter_10.caffemodel")
    state.history.extend([blob(5, 4), blob(5)])
    solver_snapshot(folder, state)


@binary("file-is-binaryproto")
def single_blob(folder: Path) -> None:
    caffemodel(folder, blob(1, 3, 8, 8))


@binary("file-empty")
def empty(folder: Path) -> None:
    (folder / "lenet.caffemodel").touch()


@binary("file-is-compressed")
def compressed(folder: Path) -> None:
    (folder / "lenet.caffemodel").write_bytes(gzip.compress(b"weights", mtime=0))


@binary("mean-shape", "infogain-matrix-size")
def flat_mean(folder: Path) -> None:
    mean(folder, blob(3, 64))


@binary("blob-count")
def short_mean(folder: Path) -> None:
    mean(folder, blob(1, 3, 8, 8, stored=100))


@binary("file-not-binaryproto")
def net_as_mean(folder: Path) -> None:
    mean(folder, net(ip1=IP1))


@binary("crop-too-large", "resize-one-side")
def tiny_image(folder: Path) -> None:
    (folder / "tiny.png").write_bytes(png())


def png() -> bytes:
    """A PNG image of four by four pixels."""
    done, data = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))
    assert done
    return data.tobytes()


@binary("data-unreadable")
def empty_lmdb(folder: Path) -> None:
    database(folder / "train_lmdb")


@binary("data-unreadable-truncated")
def truncated_lmdb(folder: Path) -> None:
    database(folder / "train_lmdb", *[bytes(5000)] * 9)
    os.truncate(folder / "train_lmdb" / "data.mdb", 20000)


@binary("data-library-missing", "color-and-gray")
def encoded_lmdb(folder: Path) -> None:
    record = Datum(encoded=True, data=png(), label=1)
    database(folder / "train_lmdb", record.SerializeToString())


def database(folder: Path, *records: bytes) -> None:
    """An LMDB as Caffe writes it."""
    with (
        lmdb.open(str(folder), map_size=1 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for index, record in enumerate(records):
            transaction.put(f"{index:08}".encode(), record)


@binary("opencv-refused")
def without_runtime(folder: Path) -> None:
    caffemodel(folder, net(ip1=[blob(5, 3), blob(5)]))


@binary("reference-without-input")
def output_alone(folder: Path) -> None:
    whole(folder)
    np.savez(folder / "blobs.npz", ip2=np.zeros((1, 2), "float32"))


@binary("reference-shape")
def smaller_input(folder: Path) -> None:
    whole(folder)
    np.savez(folder / "blobs.npz", data=np.zeros((1, 3, 4, 4), "float32"))


@binary("model-failed")
def dumped(folder: Path) -> None:
    whole(folder)
    np.savez(folder / "blobs.npz", data=np.zeros((1, 3, 8, 8), "float32"))


@binary("dataset-empty")
def database_without_records(folder: Path) -> None:
    database(folder / "train_lmdb")


@binary("bad-record")
def short_record(folder: Path) -> None:
    values = Datum(channels=1, height=2, width=2, data=b"1234").SerializeToString()
    short = Datum(channels=3, height=8, width=8, data=b"1234").SerializeToString()
    database(folder / "train_lmdb", values, short, b"no datum")


@binary("dataset-unreadable")
def cut_off_database(folder: Path) -> None:
    values = Datum(channels=1, height=64, width=64, data=bytes(4096))
    database(folder / "train_lmdb", *[values.SerializeToString()] * 9)
    os.truncate(folder / "train_lmdb" / "data.mdb", 1 << 14)


@binary("library-missing", "needs-decoding")
def database_of_images(folder: Path) -> None:
    database(folder / "train_lmdb", Datum(encoded=True, data=png()).SerializeToString())


@binary("without-opencv")
def list_of_one(folder: Path) -> None:
    (folder / "one.png").write_bytes(png())


@binary("dataset-kind", "dataset-arrays")
def arrays_of_other_names(folder: Path) -> None:
    with h5py.File(folder / "train.h5", "w") as file:
        file["frames"] = np.zeros((2, 3, 4, 4), "float32")


@binary("other-conversion")
def stopped_conversion(folder: Path) -> None:
    short_record(folder)
    (folder / ".out.partial").mkdir()
    (folder / ".out.partial.json").write_text('{"job": {"to": ["hdf5"]}}')


@binary("output-too-large")
def large_net(folder: Path) -> None:
    """A file of 2.5 GB, of which the disk holds the beginning."""
    size = 4 * 25000 * 25000
    data = field(5, size)
    shape = BlobProto(shape=BlobShape(dim=(25000, 25000))).SerializeToString()
    blob_field = field(7, len(shape) + len(data) + size)
    name = LayerParameter(name="ip", type="InnerProduct").SerializeToString()
    rest = len(name) + len(blob_field) + len(shape) + len(data) + size
    with (folder / "large.caffemodel").open("wb") as file:
        file.write(field(100, rest) + name + blob_field + shape + data)
        file.truncate(file.tell() + size)


def field(number: int, size: int) -> bytes:
    """What stands in front of a field of `size` bytes."""
    return wire.tag(number, wire.LENGTH) + wire.varint(size)


@binary("hdf5-layer-name")
def layer_with_slash(folder: Path) -> None:
    message = net(**{"inception_3a/ip": [blob(2, 5), blob(2)]})
    (folder / "net.caffemodel").write_bytes(message.SerializeToString())


@binary("caffemodel-no-net")
def hdf5_caffemodel(folder: Path) -> None:
    with h5py.File(folder / "lenet.caffemodel.h5", "w") as file:
        file["data/ip1/0"] = np.zeros((5, 192), np.float32)


@binary("keras-no-layers")
def empty_keras_file(folder: Path) -> None:
    with h5py.File(folder / "tuned.h5", "w") as file:
        file.attrs["layer_names"] = np.array([], "S1")


@binary("weights-mismatched-keras")
def other_keras_weights(folder: Path) -> None:
    with h5py.File(folder / "tuned.h5", "w") as file:
        file.attrs["layer_names"] = [b"ip1", b"ip2"]
        for name, shape in (("ip1", (192, 5)), ("ip2", (5, 10))):
            group = file.create_group(name)
            group.attrs["weight_names"] = [b"kernel", b"bias"]
            group["kernel"] = np.zeros(shape, np.float32)
            group["bias"] = np.zeros(shape[1], np.float32)


@binary("weights-raw")
def unknown_parameters(folder: Path) -> None:
    message = net(ip1=IP1, warp=[blob(3, 5)])
    (folder / "net.caffemodel").write_bytes(message.SerializeToString())


@binary("weights-alone", "weights-assumed", "weights-order")
def first_layer(folder: Path) -> None:
    message = net(ip1=IP1)
    (folder / "net.caffemodel").write_bytes(message.SerializeToString())


@binary("conversion-running")
def locked_conversion(folder: Path) -> None:
    short_record(folder)
    unfinished = folder / ".out.partial"
    unfinished.mkdir()
    # Stays open, as in a process that is running.
    fcntl.flock(os.open(unfinished, os.O_RDONLY), fcntl.LOCK_EX)
