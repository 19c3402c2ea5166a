"""The first record of an LMDB or LevelDB, and the shape of the Datum in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from google.protobuf.message import DecodeError

from caffe2k.schema.caffe_pb2 import AnnotatedDatum, Datum
from caffe2k.schema.message import Message
from caffe2k.sources.errors import SourceError, library, missing, unreadable
from caffe2k.sources.images import decoded_shape


def first_record(root: Path, source: str, backend: str) -> bytes:
    """The record with the lowest key; the database's folder is left as it is.

    `backend` is LMDB or LEVELDB. Raises SourceError.
    """
    path = root / source
    if not os.path.isdir(path):
        raise missing(source)
    read = _first_in_lmdb if backend == "LMDB" else _first_in_leveldb
    record = read(path, source)
    if record is None:
        raise unreadable(source, "it holds no records")
    return record


def annotated_datum(record: bytes, source: str) -> AnnotatedDatum:
    """A record of SSD's databases. Raises SourceError."""
    annotated = AnnotatedDatum()
    try:
        annotated.ParseFromString(record)
    except DecodeError:
        annotated.Clear()
    if not annotated.HasField("datum"):
        raise unreadable(source, "its first record is not an AnnotatedDatum")
    return annotated


def datum_shape(record: bytes, source: str, transform: Message) -> tuple[int, int, int]:
    """The (C, H, W) of a record, decoded as transform_param asks for.

    Caffe: data_transformer.cpp, InferBlobShape. Raises SourceError.
    """
    datum = Datum()
    try:
        datum.ParseFromString(record)
    except DecodeError:
        raise unreadable(source, "its first record is not a Datum") from None
    if not datum.encoded:
        if min(datum.channels, datum.height, datum.width) < 1:
            raise unreadable(source, "its first record has no shape")
        return (datum.channels, datum.height, datum.width)
    if transform.force_color and transform.force_gray:
        raise SourceError(
            "color-and-gray",
            "force_color and force_gray exclude each other",
            refused=True,
            span=transform.span_of("force_gray"),
            help="keep one of them",
        )
    forced = transform.force_color or transform.force_gray
    return decoded_shape(datum.data, source, transform.force_color if forced else None)


def _first_in_lmdb(path: Path, source: str) -> bytes | None:
    lmdb = library("lmdb", source)
    try:
        with lmdb.open(str(path), readonly=True, lock=False) as environment:
            size = os.path.getsize(path / "data.mdb")
            pages: int = environment.info()["last_pgno"] + 1
            whole = pages * environment.stat()["psize"]
            # Reading behind the end of the file would end the process.
            if size < whole:
                raise unreadable(source, f"data.mdb has {size} bytes of {whole}")
            with environment.begin() as transaction:
                return next(transaction.cursor().iternext(keys=False), None)
    except lmdb.Error as error:
        raise unreadable(source, str(error).replace(str(path), source)) from None


def _first_in_leveldb(path: Path, source: str) -> bytes | None:
    plyvel = library("plyvel", source)
    with leveldb_view(path) as view:
        try:
            with (
                closing(plyvel.DB(view, create_if_missing=False)) as database,
                closing(database.iterator(include_key=False)) as records,
            ):
                return next(records, None)
        except plyvel.Error as error:
            raise unreadable(source, str(error).replace(view, source)) from None


@contextmanager
def leveldb_view(path: Path) -> Iterator[str]:
    """A folder with links to the tables of a LevelDB.

    LevelDB writes to the folder that it opens; this one is its own.
    """
    with tempfile.TemporaryDirectory(prefix="leveldb-") as view:
        for file in path.iterdir():
            if file.suffix in (".ldb", ".sst"):
                Path(view, file.name).symlink_to(file.resolve())
            elif (
                file.name.startswith(("CURRENT", "MANIFEST-")) or file.suffix == ".log"
            ):
                shutil.copy(file, view)
        yield view
