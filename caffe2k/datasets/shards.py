"""The shards that stand for a net's databases."""

from __future__ import annotations

from pathlib import Path

from caffe2k.datasets.errors import BadRecord, DatasetError
from caffe2k.datasets.opening import open_source
from caffe2k.sources.data_files import FirstRecord
from caffe2k.sources.database import first_record
from caffe2k.sources.lookup import database_name


def first_record_in(folder: Path) -> FirstRecord:
    """What finds the first record of a database in its shards, else in the database.

    The shards of `examples/train_lmdb` are in `folder`, as the folder train_lmdb.
    """

    def first(root: Path, source: str, backend: str) -> bytes:
        try:
            shards = open_source(folder / database_name(source))
            record = next(shards.records(), None)
            if record is not None:
                return record.serialized
        except (DatasetError, BadRecord):
            pass  # data.py says it before training starts
        return first_record(root, source, backend)

    return first
