"""Streams: what is read ahead, used, skipped."""

import itertools

from caffe2k.runtime.streams import Stream


def test_what_fit_read_ahead_and_did_not_use_comes_again():
    stream = Stream(itertools.count())
    fed = stream.unused()
    assert [next(fed) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert stream.used == 0
    stream.advance()
    stream.advance()
    assert stream.peek() == 2
    assert next(stream) == 2
    assert stream.used == 3
    assert list(itertools.islice(stream.unused(), 3)) == [3, 4, 5]
    assert next(fed) == 5


def test_skipping_reads_where_the_batches_cannot_skip_themselves():
    stream = Stream(itertools.count())
    assert next(stream) == 0
    stream.skip(3)
    assert (next(stream), stream.used) == (4, 5)


class Skippable:
    def __init__(self):
        self.place = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.place += 1
        return self.place - 1

    def skip(self, count):
        self.place += count
        self.skipped = count


def test_batches_that_skip_themselves_are_asked_to():
    batches = Skippable()
    stream = Stream(batches)
    stream.skip(1000)
    assert (next(stream), batches.skipped, stream.used) == (1000, 1000, 1001)
    stream.peek()
    stream.skip(2)
    assert next(stream) == 1003
