"""The net's data layers: endless batches of (x, y), in the order that Caffe reads them.

The options of each function are those of Batches, such as shuffle and skip_bad.
"""

import os
from pathlib import Path

from caffe_runtime.databases import DataReader
from caffe_runtime.readers import Batches, locate
from caffe_runtime.transform import Transformer

# Where relative sources are looked up; Caffe does it in the working directory.
DATA_ROOT = Path(os.environ.get("CAFFE_DATA_ROOT", "."))

TRAIN_BATCH_SIZE = 30
TEST_BATCH_SIZE = 60


def train_data(batch_size=TRAIN_BATCH_SIZE, **options):
    """Endless batches of the TRAIN phase, a share of them in each process."""
    readers = [
        DataReader(
            locate(
                DATA_ROOT, "../vgg_like/patches_train_lmdb", "train_val.prototxt:15"
            ),
            batch_size=batch_size,
            tops=["data", "label"],
            backend="LMDB",
            transform=Transformer(
                "TRAIN", scale=0.017, mean_values=(104.0, 117.0, 123.0)
            ),
        )
    ]
    return Batches(readers, inputs="data", outputs="label", **options)


def test_data(batch_size=TEST_BATCH_SIZE, **options):
    """Endless batches of the TEST phase, all of them in every process."""
    readers = [
        DataReader(
            locate(DATA_ROOT, "../vgg_like/patches_test_lmdb", "train_val.prototxt:29"),
            batch_size=batch_size,
            tops=["data", "label"],
            backend="LMDB",
            transform=Transformer(
                "TEST", scale=0.017, mean_values=(104.0, 117.0, 123.0)
            ),
        )
    ]
    return Batches(readers, inputs="data", outputs="label", world=1, **options)
