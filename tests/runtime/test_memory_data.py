"""MemoryData and Input: arrays that are handed over, and those that do not fit."""

import numpy as np
import pytest

from caffe2k.runtime.memory_data import InputReader, MemoryReader
from caffe2k.runtime.readers import Batches

IMAGES = np.arange(6 * 2 * 3 * 4).reshape(6, 2, 3, 4)
ARRAYS = {"data": IMAGES, "label": [5, 4, 3, 2, 1, 0]}
TOPS = ["data", "label"]
SHAPE = (2, 3, 4)


def test_batches_wrap_round():
    stream = Batches([MemoryReader(ARRAYS, 2, TOPS, SHAPE)], "data", "label")
    read = [next(stream) for _ in range(4)]
    assert [y.tolist() for _, y in read] == [[5, 4], [3, 2], [1, 0], [5, 4]]
    np.testing.assert_array_equal(read[1][0], np.moveaxis(IMAGES[2:4], 1, -1))
    assert {array.dtype for array in read[0]} == {np.dtype("float32")}
    stream.close()


def test_labels_may_have_four_axes():
    labels = np.arange(6).reshape(6, 1, 1, 1)
    reader = MemoryReader({**ARRAYS, "label": labels}, 3, TOPS, SHAPE)
    assert next(iter(reader))["label"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "size", "words"),
    [
        ({}, 4, "6 images are no multiple of the batch size, 4"),
        ({"data": IMAGES[:0], "label": []}, 2, "0 images are no multiple"),
        (
            {"data": IMAGES[:, :1]},
            2,
            r"'data' has the shape \(6, 1, 3, 4\), not \(N, 2",
        ),
        ({"label": [1, 2]}, 2, "6 images have 2 labels"),
    ],
)
def test_arrays_that_caffe_refuses(changes, size, words):
    with pytest.raises(ValueError, match=words):
        MemoryReader({**ARRAYS, **changes}, size, TOPS, SHAPE)


def test_arrays_that_nobody_has_handed_over():
    with pytest.raises(
        ValueError, match="reads 'data', 'label' from memory: hand over"
    ):
        MemoryReader(None, 2, TOPS, SHAPE)
    with pytest.raises(ValueError, match="reads 'label' from memory"):
        MemoryReader({"data": IMAGES}, 2, TOPS, SHAPE)


def blobs(count):
    for i in range(count):
        yield {"data": np.full((2, 3), i), "label": np.full(2, -i)}


def test_input_blobs_are_what_the_program_gives():
    reader = InputReader(blobs(9), TOPS, [(2, 3), (2,)])
    stream = Batches([reader], "data", "label")
    read = [(x[0, 0], y[0]) for x, y in stream]
    assert read == [(i, -i) for i in range(9)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data": np.ones((2, 3))}, r"the blobs lack 'label': they have \['data'\]"),
        (
            {"data": np.ones((2, 4)), "label": np.ones(2)},
            r"'data' has the shape \(2, 4\), not \(2, 3\)",
        ),
    ],
)
def test_blobs_that_do_not_fit(given, words):
    stream = Batches([InputReader([given], TOPS, [(2, 3), (2,)])], "data", "label")
    with pytest.raises(ValueError, match=words):
        next(stream)


def test_blobs_that_nobody_has_handed_over():
    with pytest.raises(
        ValueError, match="input 'data', 'label' comes from the program"
    ):
        InputReader(None, TOPS, [(2, 3), (2,)])
