"""The net's data layers: endless batches of (x, y), in the order that Caffe reads them."""

import os
from pathlib import Path

from caffe_runtime.databases import DataReader
from caffe_runtime.readers import batches, locate, random_generator
from caffe_runtime.transform import Transformer, load_mean

HERE = Path(__file__).parent
# Where relative sources are looked up; Caffe does it in the working directory.
DATA_ROOT = Path(os.environ.get("CAFFE_DATA_ROOT", "."))

TRAIN_BATCH_SIZE = 20
TEST_BATCH_SIZE = 60
RANDOM_SEED = 1701


def train_data():
    """Endless batches of the TRAIN phase."""
    rng = random_generator(RANDOM_SEED)
    readers = [
        DataReader(
            locate(DATA_ROOT, "patches_train_lmdb", "train_val.prototxt:15"),
            batch_size=TRAIN_BATCH_SIZE,
            tops=["data", "label"],
            backend="LMDB",
            transform=Transformer(
                "TRAIN",
                scale=0.0078125,
                mean=load_mean(HERE / "mean.npy", "train_val.prototxt:12"),
                crop_size=28,
                mirror=True,
                rng=rng,
            ),
        )
    ]
    return batches(readers, inputs="data", outputs="label")


def test_data():
    """Endless batches of the TEST phase."""
    readers = [
        DataReader(
            locate(DATA_ROOT, "patches_test_lmdb", "train_val.prototxt:29"),
            batch_size=TEST_BATCH_SIZE,
            tops=["data", "label"],
            backend="LMDB",
            transform=Transformer(
                "TEST",
                scale=0.0078125,
                mean=load_mean(HERE / "mean.npy", "train_val.prototxt:26"),
                crop_size=28,
            ),
        )
    ]
    return batches(readers, inputs="data", outputs="label")
