"""The net's data layers: endless batches of (x, y), in the order that Caffe reads them.

The options of each function are those of Batches, such as shuffle and skip_bad.
"""

import os
from pathlib import Path

from caffe_runtime.hdf5_data import HDF5Reader
from caffe_runtime.readers import Batches, locate

# Where relative sources are looked up; Caffe does it in the working directory.
DATA_ROOT = Path(os.environ.get("CAFFE_DATA_ROOT", "."))

TRAIN_BATCH_SIZE = 10
TEST_BATCH_SIZE = 20


def train_data(batch_size=TRAIN_BATCH_SIZE, **options):
    """Endless batches of the TRAIN phase, a share of them in each process."""
    readers = [
        HDF5Reader(
            locate(DATA_ROOT, "train.txt", "train_val.prototxt:2"),
            batch_size=batch_size,
            tops=["data", "label"],
            root=DATA_ROOT,
        )
    ]
    return Batches(
        readers, inputs="data", outputs={"aux": "label", "ip": "label"}, **options
    )


def test_data(batch_size=TEST_BATCH_SIZE, **options):
    """Endless batches of the TEST phase, all of them in every process."""
    readers = [
        HDF5Reader(
            locate(DATA_ROOT, "test.txt", "train_val.prototxt:3"),
            batch_size=batch_size,
            tops=["data", "label"],
            root=DATA_ROOT,
        )
    ]
    return Batches(
        readers,
        inputs="data",
        outputs={"aux": "label", "ip": "label"},
        world=1,
        **options,
    )
