"""LMDB and LevelDB databases of Datum records, read and written."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from caffe2k.datasets.errors import library_missing, unreadable
from caffe2k.datasets.records import Record, parse
from caffe2k.datasets.source import Place, Source
from caffe2k.datasets.writer import State, Writer
from caffe2k.sources.database import leveldb_view

_FIRST_MAP_BYTES = 1 << 24
_LONGEST_LMDB_KEY = 511


class LMDBSource(Source):
    """An LMDB, in the order of its keys (util/db_lmdb.hpp). Its folder is left alone."""

    backend = "LMDB"

    @cached_property
    def count(self) -> int | None:
        with self._open() as environment:
            entries: int = environment.stat()["entries"]
        return entries

    def files(self) -> list[Path]:
        return [self.path / "data.mdb"]

    def records(self, after: Place | None = None) -> Iterator[Record]:
        with self._open() as environment, environment.begin() as transaction:
            cursor = transaction.cursor()
            if after is not None and cursor.set_range(after.key):
                cursor.next()
            for key, value in cursor:
                yield Record(self.name, key, partial(parse, value), value)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        lmdb = _lmdb(f"reading `{self.name}`")
        try:
            with lmdb.open(
                str(self.path), readonly=True, lock=False, max_dbs=0
            ) as environment:
                self._check_size(environment)
                yield environment
        except lmdb.Error as e:
            reason = str(e).replace(str(self.path), self.name)
            raise unreadable(self.name, reason) from None

    def _check_size(self, environment: Any) -> None:
        """LMDB maps the file: a page that is not there would end the process."""
        pages = environment.info()["last_pgno"] + 1
        needed = pages * environment.stat()["psize"]
        size = (self.path / "data.mdb").stat().st_size
        if size < needed:
            raise unreadable(
                self.name,
                f"it is cut off: data.mdb has {size} of at least {needed} bytes",
            )


class LevelDBSource(Source):
    """A LevelDB, in the order of its keys (util/db_leveldb.hpp)."""

    backend = "LevelDB"

    def files(self) -> list[Path]:
        return sorted(p for p in self.path.iterdir() if p.name != "LOCK")

    def records(self, after: Place | None = None) -> Iterator[Record]:
        plyvel = _plyvel(f"reading `{self.name}`")
        bounds: dict[str, Any] = {"verify_checksums": True}
        if after is not None:
            bounds |= {"start": after.key, "include_start": False}
        with leveldb_view(self.path) as view:
            try:
                with (
                    closing(
                        plyvel.DB(view, create_if_missing=False, paranoid_checks=True)
                    ) as database,
                    closing(database.iterator(**bounds)) as records,
                ):
                    for key, value in records:
                        yield Record(self.name, key, partial(parse, value), value)
            except plyvel.Error as e:
                raise unreadable(self.name, str(e).replace(view, self.name)) from None


class _DatabaseWriter(Writer):
    """Records in the order of their keys, put in together at each checkpoint."""

    def __init__(self, state: State | None) -> None:
        super().__init__()
        self._last = bytes.fromhex(state["last"]) if state else b""
        self._batch: list[tuple[bytes, bytes]] = []

    def write(self, record: Record) -> None:
        value = record.serialized
        if record.key <= self._last:
            raise record.bad(
                "its key is not above the one before it, and a database is in the "
                "order of its keys"
            )
        self._last = record.key
        self._batch.append((record.key, value))
        self._note(len(value))

    def checkpoint(self) -> State:
        self._put(self._batch)
        self._batch = []
        self._forget()
        return {"last": self._last.hex()}

    @abstractmethod
    def _put(self, batch: list[tuple[bytes, bytes]]) -> None:
        """Puts records in at once, or none of them."""


class LMDBWriter(_DatabaseWriter):
    """A new LMDB, whose map grows as it needs to (util/db_lmdb.cpp, DoubleMapSize)."""

    def __init__(self, folder: Path, state: State | None) -> None:
        super().__init__(state)
        self._lmdb = _lmdb("writing an LMDB")
        self._environment = self._lmdb.open(str(folder), map_size=_FIRST_MAP_BYTES)

    def write(self, record: Record) -> None:
        if len(record.key) > _LONGEST_LMDB_KEY:
            raise record.bad(f"LMDB has keys of at most {_LONGEST_LMDB_KEY} bytes")
        super().write(record)

    def _put(self, batch: list[tuple[bytes, bytes]]) -> None:
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    transaction.cursor().putmulti(batch)
                return
            except self._lmdb.MapFullError:
                size = self._environment.info()["map_size"]
                self._environment.set_mapsize(2 * size)
            except self._lmdb.Error as e:
                raise OSError(str(e)) from None

    def close(self) -> None:
        self._environment.close()


class LevelDBWriter(_DatabaseWriter):
    """A new LevelDB."""

    def __init__(self, folder: Path, state: State | None) -> None:
        super().__init__(state)
        self._plyvel = _plyvel("writing a LevelDB")
        self._database = self._plyvel.DB(str(folder), create_if_missing=True)

    def _put(self, batch: list[tuple[bytes, bytes]]) -> None:
        try:
            with self._database.write_batch(sync=True) as puts:
                for key, value in batch:
                    puts.put(key, value)
        except self._plyvel.Error as e:
            raise OSError(str(e)) from None

    def close(self) -> None:
        self._database.close()


def _lmdb(purpose: str) -> Any:
    try:
        import lmdb
    except ImportError:
        raise library_missing("lmdb", purpose) from None
    return lmdb


def _plyvel(purpose: str) -> Any:
    try:
        import plyvel
    except ImportError:
        raise library_missing("plyvel", purpose) from None
    return plyvel
