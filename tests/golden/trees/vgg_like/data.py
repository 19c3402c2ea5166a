"""The net's data layers: endless batches of (x, y), in the order that Caffe reads them.

The options of each function are those of Batches, such as shuffle and skip_bad.
"""

import os
from pathlib import Path

from caffe_runtime.databases import DataReader
from caffe_runtime.readers import Batches, locate
from caffe_runtime.transform import Transformer, load_mean

HERE = Path(__file__).parent
# Where relative sources are looked up; Caffe does it in the working directory.
DATA_ROOT = Path(os.environ.get("CAFFE_DATA_ROOT", "."))

TRAIN_BATCH_SIZE = 20
TEST_BATCH_SIZE = 60
RANDOM_SEED = 1701


def train_data(batch_size=TRAIN_BATCH_SIZE, seed=RANDOM_SEED, **options):
    """Endless batches of the TRAIN phase, a share of them in each process."""
    readers = [
        DataReader(
            locate(DATA_ROOT, "patches_train_lmdb", "train_val.prototxt:15"),
            batch_size=batch_size,
            tops=["data", "label"],
            backend="LMDB",
            transform=Transformer(
                "TRAIN",
                mean=load_mean(HERE / "mean.npy", "train_val.prototxt:12"),
                scale=0.0078125,
                crop_size=28,
                mirror=True,
            ),
        )
    ]
    return Batches(readers, inputs="data", outputs="label", seed=seed, **options)


def test_data(batch_size=TEST_BATCH_SIZE, **options):
    """Endless batches of the TEST phase, all of them in every process."""
    readers = [
        DataReader(
            locate(DATA_ROOT, "patches_test_lmdb", "train_val.prototxt:29"),
            batch_size=batch_size,
            tops=["data", "label"],
            backend="LMDB",
            transform=Transformer(
                "TEST",
                mean=load_mean(HERE / "mean.npy", "train_val.prototxt:26"),
                scale=0.0078125,
                crop_size=28,
            ),
        )
    ]
    return Batches(readers, inputs="data", outputs="label", world=1, **options)
