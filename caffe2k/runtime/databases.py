"""LMDB and LevelDB databases of Datum records, and the Data layer that reads them."""

import atexit
import os
import shutil
import tempfile
import threading
import weakref
from contextlib import closing, contextmanager
from pathlib import Path

from .datum import DatumError, parse_datum
from .transform import Transformer, labelled_batches


class DataReader:
    """Caffe's Data layer: endless batches of a database's records, in their order.

    Iterating gives dicts: `tops[0]` -> float32 images (N, C, H, W), and where there is
    a second top its float32 labels (N,). A batch that meets the end of the database
    goes on with its first record. Raises DatumError or ValueError at once where the
    first record cannot be read, ImportError where the database's library is missing.
    Caffe: data_layer.cpp.
    """

    def __init__(self, source, batch_size, tops, backend="LEVELDB", transform=None):
        self.source = source
        self.batch_size = batch_size
        self.tops = tuple(tops)
        self.backend = backend
        self.transform = transform or Transformer("TEST")
        with closing(self._images()) as images:
            image, _ = next(images)
            self.transform.output_shape(image.shape)

    def __iter__(self):
        images = self._images()
        return labelled_batches(images, self.batch_size, self.tops, self.transform)

    def _images(self):
        for number, record in enumerate(read_records(self.source, self.backend)):
            try:
                datum = parse_datum(record)
                color = self.transform.decode_as_color if datum.encoded else None
                image = datum.image(color)
            except DatumError as error:
                raise DatumError(f"{self.source}, record {number}: {error}") from error
            yield image, datum.label


def read_records(source, backend):
    """The values of a database in the order of their keys, over and over.

    `backend` is "LMDB" or "LEVELDB". The database is only read: nothing is written to
    its folder, not even a lock. Raises ValueError where it holds no record.
    Caffe: util/db_lmdb.hpp, util/db_leveldb.hpp, and the wrapping of data_layer.cpp.
    """
    passes = {"LMDB": _lmdb_passes, "LEVELDB": _leveldb_passes}[backend]
    for one_pass in passes(Path(source)):
        record = None
        for record in one_pass:
            yield record
        if record is None:
            raise ValueError(f"{source} holds no records")


_environments = weakref.WeakValueDictionary()
_environments_lock = threading.Lock()


def _lmdb_passes(path):
    environment = _lmdb_environment(path)
    while True:
        with environment.begin() as transaction:
            yield transaction.cursor().iternext(keys=False, values=True)


def _lmdb_environment(path):
    """The open environment of a path: LMDB may open it only once in a process."""
    try:
        import lmdb
    except ImportError:
        raise ImportError(f"reading {path} needs LMDB: pip install lmdb") from None

    key = os.path.realpath(path)
    with _environments_lock:
        environment = _environments.get(key)
        if environment is None:
            environment = lmdb.open(key, readonly=True, lock=False)
            _environments[key] = environment
        return environment


def _leveldb_passes(path):
    try:
        import plyvel
    except ImportError:
        raise ImportError(f"reading {path} needs LevelDB: pip install plyvel") from None

    with (
        _leveldb_view(path) as view,
        closing(plyvel.DB(view, create_if_missing=False)) as database,
    ):
        while True:
            with closing(database.iterator(include_key=False)) as records:
                yield records


@contextmanager
def _leveldb_view(path):
    """A folder for LevelDB to write to, with links to the tables of a database.

    LevelDB cannot open a database for reading alone: it locks the folder, and writes
    its log and manifest anew.
    """
    view = tempfile.TemporaryDirectory(prefix="leveldb-")
    # A generator that is still waiting when Python exits never gets to its `finally`.
    atexit.register(view.cleanup)
    try:
        for file in path.iterdir():
            if file.suffix in (".ldb", ".sst"):
                Path(view.name, file.name).symlink_to(file.resolve())
            elif file.suffix == ".log" or file.name.startswith(("CURRENT", "MANIFEST")):
                shutil.copy(file, view.name)
        yield view.name
    finally:
        atexit.unregister(view.cleanup)
        view.cleanup()
