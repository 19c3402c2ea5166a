"""From readers to (x, y): several in step, layouts, the thread, and missing files."""

import gc
import threading
import time
import types

import numpy as np
import pytest

from caffe2k.runtime.readers import batches, channels_last, locate


class Cycle:
    """A reader of numbers that begins again after `length` batches."""

    def __init__(self, top, length, shape=()):
        self.tops = (top,)
        self.length = length
        self.shape = shape

    def __iter__(self):
        while True:
            for i in range(self.length):
                yield {self.tops[0]: np.full((2, *self.shape), i, np.float32)}


class Failing(Cycle):
    def __iter__(self):
        yield {self.tops[0]: np.zeros(2)}
        raise OSError("the disk is gone")


@pytest.fixture
def threads_end():
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


pytestmark = pytest.mark.usefixtures("threads_end")


def test_cycles_of_different_lengths_stay_in_step():
    stream = batches([Cycle("a", 2), Cycle("b", 3)], {"in": "a"}, "b")
    pairs = [(int(x["in"][0]), int(y[0])) for x, y in (next(stream) for _ in range(7))]
    stream.close()
    assert pairs == [(0, 0), (1, 1), (0, 2), (1, 0), (0, 1), (1, 2), (0, 0)]


def test_one_top_may_serve_several_outputs():
    stream = batches([Cycle("a", 2)], "a", {"main": "a", "aux": "a"})
    x, y = next(stream)
    stream.close()
    assert x.tolist() == y["main"].tolist() == y["aux"].tolist() == [0, 0]


def test_without_targets():
    stream = batches([Cycle("a", 2)], {"a": "a"})
    assert len(next(stream)) == 1
    stream.close()


def test_keras_wants_a_real_generator():
    assert isinstance(batches([Cycle("a", 2)], "a"), types.GeneratorType)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2,), (2,)),
        ((2, 3, 4), (2, 3, 4)),
        ((2, 3, 4, 5), (2, 4, 5, 3)),
        ((2, 3, 4, 5, 6), (2, 4, 5, 6, 3)),
    ],
)
def test_second_axis_moves_last_in_rank_four_and_five(shape, expected):
    array = np.arange(np.prod(shape)).reshape(shape)
    moved = channels_last(array)
    assert moved.shape == expected
    assert moved.flags.c_contiguous
    if len(shape) > 3:
        np.testing.assert_array_equal(moved[..., 1], array[:, 1])


def test_data_format():
    reader = Cycle("a", 2, (3, 4, 5))
    for data_format, shape in [
        ("channels_last", (2, 4, 5, 3)),
        ("channels_first", (2, 3, 4, 5)),
    ]:
        stream = batches([reader], "a", "a", data_format)
        x, y = next(stream)
        stream.close()
        assert x.shape == y.shape == shape


def test_names_are_checked_before_training():
    with pytest.raises(ValueError, match="no reader gives 'label'"):
        batches([Cycle("a", 2)], "a", "label")
    with pytest.raises(ValueError, match="no reader gives 'b'"):
        batches([Cycle("a", 2)], {"in": "b"})


def test_what_a_reader_raises_reaches_the_consumer():
    stream = batches([Failing("a", 2)], "a")
    next(stream)
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def test_reading_ahead_is_bounded():
    made = []

    class Counting(Cycle):
        def __iter__(self):
            for blobs in super().__iter__():
                made.append(1)
                yield blobs

    stream = batches([Counting("a", 2)], "a", prefetch=3)
    next(stream)
    time.sleep(0.1)
    stream.close()
    assert len(made) == 4


def test_a_forgotten_generator_ends_its_thread():
    stream = batches([Cycle("a", 2)], "a")
    next(stream)
    del stream
    gc.collect()


def test_locate(tmp_path):
    (tmp_path / "list.txt").touch()
    assert locate(tmp_path, "list.txt", "net:3") == tmp_path / "list.txt"
    absolute = str(tmp_path / "list.txt")
    assert locate("elsewhere", absolute, "net:3") == tmp_path / "list.txt"
    with pytest.raises(FileNotFoundError) as caught:
        locate(tmp_path, "none", "train_val.prototxt:8")
    message = str(caught.value)
    for word in ("'none'", "train_val.prototxt:8", str(tmp_path), "CAFFE_DATA_ROOT"):
        assert word in message
