"""Writes caffemodels, binary and HDF5, as Caffe's own snapshots are."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import h5py

from caffe2k.weights import wire
from caffe2k.weights.blob import CaffeModel, LayerBlobs
from caffe2k.weights.caffe_side import blob_arrays
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.h5_file import Places, write_h5
from caffe2k.weights.plan import LazyArray
from caffe2k.weights.slabs import Placed, write_values
from caffe2k.weights.whole_file import OnProgress, whole_file

# Field numbers of NetParameter, LayerParameter, BlobProto and BlobShape.
_NET_NAME, _LAYER = 1, 100
_LAYER_NAME, _LAYER_TYPE, _LAYER_BLOBS = 1, 2, 7
_BLOB_DATA, _BLOB_SHAPE, _DIM = 5, 7, 1

_NOT_IN_HDF5 = re.compile("[/\\0\\udc80-\\udcff]")
"""Ends of a group's name for HDF5, and bytes that are no UTF-8, which h5py can't name."""

_LARGEST = (1 << 31) - 1
"""What Caffe reads of a binary file at most (util/io.cpp, kProtoReadBytesLimit)."""


def write_caffemodel(
    path: Path,
    model: CaffeModel,
    definitions: Mapping[str, bytes],
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> None:
    """Writes a NetParameter with the layers of `model` and their blobs.

    `definitions` holds a LayerParameter without blobs, as protobuf writes it, for the
    layers whose settings are known; of the others the file tells name and type.

    Raises WeightsError if the file exists and not `force`, if Caffe could not read so
    large a file, or if it can't be written (net.cpp, Net::ToProto).
    """
    parts: list[bytes | LazyArray] = [_message(_NET_NAME, _utf8(model.name))]
    for layer in model.layers:
        parts += _layer_parts(layer, definitions.get(layer.name))
    size = sum(p.nbytes if isinstance(p, LazyArray) else len(p) for p in parts)
    if size > _LARGEST:
        raise WeightsError(
            "output-too-large",
            f"Caffe reads binary files of at most {_LARGEST} bytes, not of {size}",
            help="write a .caffemodel.h5",
        )
    placed: list[Placed] = []
    with whole_file(path, force=force) as temporary, open(temporary, "wb") as file:
        for part in parts:
            if isinstance(part, LazyArray):
                placed.append((file.tell(), part))
                file.seek(part.nbytes, os.SEEK_CUR)
            else:
                file.write(part)
        write_values(file, placed, on_progress)


def _layer_parts(
    layer: LayerBlobs, definition: bytes | None
) -> Iterator[bytes | LazyArray]:
    if definition is None:
        definition = _message(_LAYER_NAME, _utf8(layer.name))
        definition += _message(_LAYER_TYPE, _utf8(layer.type))
    arrays = blob_arrays(layer)
    heads = [_blob_head(array) for array in arrays]
    size = len(definition) + sum(
        len(head) + array.nbytes for head, array in zip(heads, arrays, strict=True)
    )
    yield wire.tag(_LAYER, wire.LENGTH) + wire.varint(size) + definition
    for head, array in zip(heads, arrays, strict=True):
        yield head
        yield array


def _blob_head(array: LazyArray) -> bytes:
    """The beginning of a blob's field in its layer: all but the values, which end it.

    Of a blob without axes no shape is written (blob.cpp, Blob::ToProto).
    """
    dims = b"".join(map(wire.varint, array.shape))
    shape = _message(_BLOB_SHAPE, _message(_DIM, dims)) if dims else b""
    data = wire.tag(_BLOB_DATA, wire.LENGTH) + wire.varint(array.nbytes)
    size = len(shape) + len(data) + array.nbytes
    field = wire.tag(_LAYER_BLOBS, wire.LENGTH) + wire.varint(size)
    return field + shape + data


def _message(number: int, payload: bytes) -> bytes:
    return wire.tag(number, wire.LENGTH) + wire.varint(len(payload)) + payload


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def write_caffemodel_h5(
    path: Path,
    model: CaffeModel,
    shared: Collection[tuple[str, int]],
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> None:
    """Writes a group for each layer, with its blobs as data sets named 0, 1, 2, ...

    A `shared` (layer, index) belongs to another layer and is left out, as Caffe does.

    Raises WeightsError as `write_caffemodel` does, and for a layer whose name HDF5 can't
    hold (net.cpp, Net::ToHDF5).
    """
    for layer in model.layers:
        if _NOT_IN_HDF5.search(layer.name) or layer.name in ("", "."):
            raise WeightsError(
                "hdf5-layer-name",
                f"Caffe can't have a layer called `{layer.name}` in an HDF5 file",
                help="write a binary .caffemodel",
            )

    def lay_out(file: h5py.File, places: Places) -> None:
        data = file.create_group("data")
        for layer in model.layers:
            group = data.require_group(_utf8(layer.name))
            for array in blob_arrays(layer):
                index = array.name.rpartition("/")[2]
                if (layer.name, int(index)) not in shared and index not in group:
                    places.allocate(group, array.renamed(index))

    write_h5(path, lay_out, force=force, on_progress=on_progress)
