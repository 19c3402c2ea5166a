"""LMDB and LevelDB databases of Datum records, and the Data layer that reads them."""

import os
import shutil
import tempfile
import threading
import weakref
from contextlib import closing
from itertools import islice
from pathlib import Path

from .datum import parse_datum
from .labelled_images import LabelledImages, Listed
from .transform import Transformer


class DataReader(LabelledImages):
    """Caffe's Data layer: endless batches of a database's records, in their order.

    A batch that meets the end of the database goes on with its first record. Raises
    ValueError at once where the database is damaged or empty, ImportError where its
    library is missing. `backend` is "LMDB" or "LEVELDB".
    Caffe: data_layer.cpp.
    """

    def __init__(self, source, batch_size, tops, backend="LEVELDB", transform=None):
        self.source = source
        self.batch_size = batch_size
        self.tops = tuple(tops)
        self.transform = transform or Transformer("TEST")
        self.database = open_database(source, backend)
        self.items = Keys(self.database)

    def read(self, key):
        datum = parse_datum(self.database.get(key))
        color = self.transform.decode_as_color if datum.encoded else None
        return datum.image(color), datum.label

    def name(self, key):
        return f"{self.source}, record {key.decode(errors='backslashreplace')!r}"


def open_database(source, backend):
    """The database in the folder `source`, which is only read, and left as it is.

    Its `get(key)` gives a record, `keys_after(key)` the keys behind one, or all for
    None. Raises ValueError where it is damaged.
    """
    return {"LMDB": _Lmdb, "LEVELDB": _LevelDB}[backend](Path(source))


class Keys(Listed):
    """A database's keys."""

    def __init__(self, database):
        super().__init__(database.path)
        self._database = database

    def more(self, last, count):
        with closing(self._database.keys_after(last)) as keys:
            return list(islice(keys, count))


_environments = weakref.WeakValueDictionary()
_environments_lock = threading.Lock()


class _Lmdb:
    """Caffe: util/db_lmdb.hpp."""

    def __init__(self, path):
        try:
            import lmdb
        except ImportError:
            raise ImportError(f"reading {path} needs LMDB: pip install lmdb") from None
        self.path = path
        self._error = lmdb.Error
        try:
            self._environment = _lmdb_environment(lmdb, path)
        except lmdb.Error as error:
            raise ValueError(f"{path} is not an LMDB database: {error}") from error
        size = os.path.getsize(path / "data.mdb")
        page = self._environment.stat()["psize"]
        whole = (self._environment.info()["last_pgno"] + 1) * page
        # Reading behind the end of the file would end the process.
        if size < whole:
            raise ValueError(
                f"{path} is truncated: data.mdb has {size} bytes of {whole}"
            )

    def get(self, key):
        try:
            with self._environment.begin() as transaction:
                return transaction.get(key)
        except self._error as error:
            raise ValueError(f"LMDB: {error}") from error

    def keys_after(self, key):
        try:
            with self._environment.begin() as transaction:
                cursor = transaction.cursor()
                if key is None:
                    found = cursor.first()
                else:
                    found = cursor.set_key(key) and cursor.next()
                if found:
                    yield from cursor.iternext(keys=True, values=False)
        except self._error as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error


def _lmdb_environment(lmdb, path):
    """The open environment of a path: LMDB may open it only once in a process."""
    key = os.path.realpath(path)
    with _environments_lock:
        environment = _environments.get(key)
        if environment is None:
            environment = lmdb.open(key, readonly=True, lock=False)
            _environments[key] = environment
        return environment


class _LevelDB:
    """Caffe: util/db_leveldb.hpp.

    LevelDB cannot open a database for reading alone: it locks the folder, and writes
    its log and manifest anew. So it gets a folder of its own with links to the tables.
    """

    def __init__(self, path):
        try:
            import plyvel
        except ImportError:
            raise ImportError(
                f"reading {path} needs LevelDB: pip install plyvel"
            ) from None
        self.path = path
        self._error = plyvel.Error
        view = tempfile.mkdtemp(prefix="leveldb-")
        try:
            _link_database(path, Path(view))
            self._database = plyvel.DB(view, create_if_missing=False)
        except plyvel.Error as error:
            shutil.rmtree(view)
            reason = str(error).replace(view, str(path))
            raise ValueError(f"{path} cannot be read as LevelDB: {reason}") from error
        weakref.finalize(self, _close_leveldb, self._database, view)

    def get(self, key):
        try:
            return self._database.get(key, verify_checksums=True)
        except self._error as error:
            raise ValueError(f"LevelDB: {error}") from error

    def keys_after(self, key):
        try:
            with closing(
                self._database.iterator(
                    start=key, include_start=False, include_value=False
                )
            ) as keys:
                yield from keys
        except self._error as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error


def _link_database(path, view):
    for file in path.iterdir():
        if file.suffix in (".ldb", ".sst"):
            Path(view, file.name).symlink_to(file.resolve())
        elif file.suffix == ".log" or file.name.startswith(("CURRENT", "MANIFEST")):
            shutil.copy(file, view)


def _close_leveldb(database, view):
    database.close()
    shutil.rmtree(view)
