"""From readers to (x, y): several in step, layouts, the thread, and missing files."""

import gc
import threading
import time
import types

import keras
import numpy as np
import pytest

from caffe2k.runtime.labelled_images import LabelledImages, RecordError
from caffe2k.runtime.readers import Batches, channels_last, launched_as, locate
from caffe2k.runtime.reading import Cycle as Items
from caffe2k.runtime.reading import Reader
from caffe2k.runtime.transform import Transformer


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
    stream = Batches([Cycle("a", 2), Cycle("b", 3)], {"in": "a"}, "b")
    pairs = [(int(x["in"][0]), int(y[0])) for x, y in (next(stream) for _ in range(7))]
    stream.close()
    assert pairs == [(0, 0), (1, 1), (0, 2), (1, 0), (0, 1), (1, 2), (0, 0)]


def test_one_top_may_serve_several_outputs():
    stream = Batches([Cycle("a", 2)], "a", {"main": "a", "aux": "a"})
    x, y = next(stream)
    stream.close()
    assert x.tolist() == y["main"].tolist() == y["aux"].tolist() == [0, 0]


def test_without_targets():
    stream = Batches([Cycle("a", 2)], {"a": "a"})
    assert len(next(stream)) == 1
    stream.close()


def test_keras_takes_it_for_a_generator():
    stream = Batches([Cycle("a", 2)], "a")
    assert isinstance(stream, types.GeneratorType)
    assert isinstance(stream, Batches)


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
        stream = Batches([reader], "a", "a", data_format)
        x, y = next(stream)
        stream.close()
        assert x.shape == y.shape == shape


def test_names_are_checked_before_training():
    with pytest.raises(ValueError, match="no reader gives 'label'"):
        Batches([Cycle("a", 2)], "a", "label")
    with pytest.raises(ValueError, match="no reader gives 'b'"):
        Batches([Cycle("a", 2)], {"in": "b"})


def test_what_a_reader_raises_reaches_the_consumer():
    stream = Batches([Failing("a", 2)], "a")
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

    stream = Batches([Counting("a", 2)], "a", prefetch=3)
    next(stream)
    time.sleep(0.1)
    stream.close()
    assert len(made) == 4


def test_a_forgotten_generator_ends_its_thread():
    stream = Batches([Cycle("a", 2)], "a")
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


class Drawing(Reader):
    """A reader whose batches are random numbers."""

    tops = ("a",)

    def batch(self, number, reading):
        return {"a": reading.draws(number).random(3)}


def first_numbers(stream, count):
    return [float(next(stream)[0][0]) for _ in range(count)]


@pytest.mark.parametrize("already", [0, 1, 5])
@pytest.mark.parametrize("number", [0, 1, 3, 4, 7, 100])
def test_skipping_is_as_if_they_had_been_read(already, number):
    read, skipped = (Batches([Drawing()], "a", seed=3) for _ in range(2))
    first_numbers(read, already + number)
    first_numbers(skipped, already)
    skipped.skip(number)
    assert read.batches_read == skipped.batches_read == already + number
    assert first_numbers(read, 6) == first_numbers(skipped, 6)
    read.close()
    skipped.close()


def test_a_seed_fixes_what_is_drawn():
    first, same, other, without = (
        Batches([Drawing()], "a", seed=seed) for seed in (1, 1, 2, None)
    )
    drawn = [first_numbers(stream, 3) for stream in (first, same, other, without)]
    assert drawn[0] == drawn[1]
    assert len(set(map(tuple, drawn))) == 3
    assert len(set(drawn[0])) == 3


def test_readers_that_share_a_seed_draw_different_numbers():
    one, two = Drawing(), Drawing()
    two.tops = ("b",)
    two.batch = lambda number, reading: {"b": reading.draws(number).random(3)}
    stream = Batches([one, two], "a", "b", seed=1)
    x, y = next(stream)
    assert (x != y).all()


class Slow(Reader):
    """Later batches are made faster, so that threads finish in the wrong order."""

    tops = ("a",)

    def batch(self, number, reading):
        time.sleep(0.02 if number % 3 == 0 else 0)
        return {"a": np.full(2, number)}


def test_threads_keep_the_order():
    stream = Batches([Slow()], "a", workers=3)
    assert first_numbers(stream, 12) == list(range(12))


def test_what_can_only_be_iterated_keeps_its_order_and_is_skipped():
    stream = Batches([Cycle("a", 50)], "a", workers=3)
    assert first_numbers(stream, 5) == [0, 1, 2, 3, 4]
    stream.skip(20)
    assert first_numbers(stream, 5) == [25, 26, 27, 28, 29]


def test_finite_blobs_end_the_batches():
    class Finite(Cycle):
        def __iter__(self):
            return iter([{"a": np.ones(2)}] * 3)

    assert len(list(Batches([Finite("a", 1)], "a"))) == 3


class Records(LabelledImages):
    """Images of one pixel, which is the label; those in `bad` cannot be read."""

    def __init__(self, count, batch_size, bad=()):
        self.tops = ("data", "label")
        self.batch_size = batch_size
        self.transform = Transformer("TEST")
        self.items = Items(list(range(count)))
        self.bad = bad

    def read(self, record):
        if record in self.bad:
            raise ValueError("it is damaged")
        return np.full((1, 1, 1), record, np.uint8), record

    def name(self, record):
        return f"record {record}"


def labels(stream, count):
    return [next(stream)[1].astype(int).tolist() for _ in range(count)]


def test_ranks_read_disjoint_shares_of_the_same_row():
    """Skip of data_layer.cpp: of three ranks, each keeps every third record."""
    shares = [
        labels(Batches([Records(10, 2)], "data", "label", rank=rank, world=3), 5)
        for rank in range(3)
    ]
    for number in range(5):
        row = [share[number][i] for i in range(2) for share in shares]
        assert row == [(6 * number + i) % 10 for i in range(6)]


def test_ranks_share_a_shuffled_round():
    options = {"shuffle": True, "seed": 5, "world": 2}
    shares = [
        labels(Batches([Records(12, 3)], "data", "label", rank=rank, **options), 4)
        for rank in range(2)
    ]
    for turn in (0, 2):
        read = [
            x for share in shares for batch in share[turn : turn + 2] for x in batch
        ]
        assert sorted(read) == list(range(12))
        assert read != list(range(12))


def test_ranks_do_not_agree_on_an_order_without_a_seed():
    with pytest.raises(ValueError, match="only agree on a random order by a seed"):
        next(Batches([Records(9, 3)], "data", "label", rank=0, world=2, shuffle=True))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (2, 4)),
        ({"RANK": "2"}, (0, 1)),
        (
            {
                "KERAS_DISTRIBUTION_PROCESS_ID": "1",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": "3",
            },
            (1, 3),
        ),
        (
            {
                "TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}, '
                '"task": {"type": "worker", "index": 1}}'
            },
            (1, 2),
        ),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, (0, 1)),
    ],
)
def test_the_launcher_tells_the_rank(environment, expected):
    assert launched_as(environment) == expected


def test_the_environment_counts_unless_a_rank_is_given(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert labels(Batches([Records(9, 3)], "data", "label"), 1) == [[1, 3, 5]]
    assert labels(Batches([Records(9, 3)], "data", "label", world=1), 1) == [[0, 1, 2]]
    with pytest.raises(ValueError, match="rank 3 is not one of 2"):
        Batches([Records(9, 3)], "data", "label", rank=3, world=2)


def test_shuffling_visits_every_record_in_each_round():
    stream = Batches([Records(10, 4)], "data", "label", shuffle=True, seed=1)
    read = [label for batch in labels(stream, 15) for label in batch]
    rounds = [read[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(order) == list(range(10)) for order in rounds)
    assert len(set(map(tuple, rounds))) == 6


@pytest.mark.parametrize("seed", [1, None])
def test_what_belongs_together_stays_together_when_it_is_shuffled(seed):
    one, two = Records(10, 4), Records(10, 4)
    two.tops = ("other", "other_label")
    stream = Batches([one, two], "label", "other_label", shuffle=True, seed=seed)
    for _ in range(6):
        x, y = next(stream)
        np.testing.assert_array_equal(x, y)
    stream.close()


def test_different_numbers_of_records_are_not_shuffled():
    one, two = Records(10, 4), Records(9, 4)
    two.tops = ("other", "other_label")
    words = "cannot be shuffled: 10 of 'data', 9 of 'other'"
    with pytest.raises(ValueError, match=words):
        Batches([one, two], "label", "other_label", shuffle=True)


def test_what_can_only_be_iterated_is_not_shuffled():
    with pytest.raises(ValueError, match="'a' has no other order"):
        Batches([Cycle("a", 2)], "a", shuffle=True)


def test_a_bad_record_is_an_error_that_names_it():
    stream = Batches([Records(6, 3, bad=(4,))], "data", "label")
    assert labels(stream, 1) == [[0, 1, 2]]
    with pytest.raises(RecordError, match=r"^record 4: it is damaged$"):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_the_next_good_record_stands_in_for_a_bad_one(capsys):
    stream = Batches([Records(6, 3, bad=(0, 4, 5))], "data", "label", skip_bad=True)
    assert labels(stream, 3) == [[1, 1, 2], [3, 3, 3], [1, 1, 2]]
    assert capsys.readouterr().err == ""
    stream.close()
    printed = "3 bad records were skipped: record 0, record 4, record 5\n"
    assert capsys.readouterr().err == printed


def test_nothing_but_bad_records():
    with pytest.raises(
        RecordError, match="none of the first batch can be read; record 2: it is"
    ):
        Batches([Records(3, 3, bad=(0, 1, 2))], "data", "label", skip_bad=True)
    stream = Batches([Records(6, 3, bad=(3, 4, 5))], "data", "label", skip_bad=True)
    next(stream)
    with pytest.raises(RecordError, match="none of the 3 records of a batch"):
        next(stream)


def test_fit_takes_it():
    layers = [keras.Input((1, 1, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse")
    stream = Batches([Records(6, 2)], "data", "label")
    model.fit(stream, steps_per_epoch=3, epochs=2, verbose=0, shuffle=False)
    stream.close()
