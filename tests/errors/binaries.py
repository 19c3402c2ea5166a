"""Binary files of the cases: weights, means, databases and images, each a few bytes."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import cv2
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


@binary(
    "binary-file",
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
