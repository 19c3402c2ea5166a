"""Which records make a batch, and by what chance: the same however it is reached."""

import threading
from functools import lru_cache
from itertools import count

import numpy as np

_ORDER, _FILES, _DRAWS, _START = range(4)


class Reading:
    """How a reader is read: by which seed, by which of several ranks, in which order.

    seed: of all that is random; None for another one each time. stream: which of the
    readers that share the seed. rank, world: this process among those that read; each
    takes every world-th record. shuffle: a new order in each round, the same for all
    readers, so that what belongs together stays so; without it, a layer that shuffles by
    itself has an order of its own. bad: a set for the names of records that cannot be
    read, None to refuse them.

    What is random depends on the number of the batch alone and not on what was read
    before it.
    """

    def __init__(self, seed=None, stream=0, rank=0, world=1, shuffle=False, bad=None):
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not one of {world}")
        self.seed = seed
        self.rank = rank
        self.world = world
        self.shuffle = shuffle
        self.bad = bad
        entropy = np.random.SeedSequence(seed).entropy
        self._entropy = (entropy, stream)
        self._order = (entropy, 0 if shuffle else stream)

    def positions(self, number, batch_size):
        """The places of a batch's records in the endless row of all records.

        Caffe: data_layer.cpp and hdf5_data_layer.cpp, Skip and Next.
        """
        first = number * batch_size * self.world + self.rank
        return range(first, first + batch_size * self.world, self.world)

    def pick(self, items, number, batch_size, shuffle=False, first=0):
        """The items of a batch, from a sequence that begins again after its end."""
        positions = [first + p for p in self.positions(number, batch_size)]
        if not (shuffle or self.shuffle):
            return [items[position] for position in positions]
        length = len(items)
        return [items[self.order(p // length, length)[p % length]] for p in positions]

    def order(self, turn, length, file=0):
        """A random order of the records of a round, or of one of its files."""
        self._agree()
        return _permutation((*self._order, _ORDER, turn, file), length)

    def file_order(self, turn, length):
        """A random order of the files of a round."""
        self._agree()
        return _permutation((*self._order, _FILES, turn), length)

    def start(self, below):
        """A random number below `below`, the same for all ranks."""
        self._agree()
        return int(np.random.default_rng((*self._entropy, _START)).integers(below))

    def draws(self, number):
        """The generator of what is random in this rank's batch of a number."""
        place = (*self._entropy, _DRAWS, number * self.world + self.rank)
        return np.random.default_rng(place)

    def _agree(self):
        if self.seed is None and self.world > 1:
            raise ValueError("several ranks only agree on a random order by a seed")


@lru_cache(maxsize=8)
def _permutation(entropy, length):
    return np.random.default_rng(entropy).permutation(length)


class Cycle:
    """A list that begins again after its last item."""

    def __init__(self, items):
        self._items = items

    def __len__(self):
        return len(self._items)

    def __getitem__(self, position):
        return self._items[position % len(self._items)]


class Reader:
    """Batches by number: dicts from the names in `tops` to arrays in Caffe's axis order."""

    tops = ()
    items = ()

    def round(self):
        """The records of a round, by file; None for a reader that has no rounds."""
        return (len(self.items),) if self.items else None

    def check(self, reading):
        """Raises now what would stop the first batch."""

    def batch(self, number, reading):
        """A batch, counted from 0; several threads may ask for batches at a time."""
        raise NotImplementedError

    def __iter__(self):
        reading = Reading()
        self.check(reading)
        return (self.batch(number, reading) for number in count())


class Iterated(Reader):
    """A reader of what can only be iterated: dicts of arrays, one a batch.

    tops: the names that are looked for in each dict. ahead: the numbers of the batches
    that are asked for lie this close together.
    """

    def __init__(self, blobs, tops, ahead):
        self.tops = tuple(tops)
        self._blobs = iter(blobs)
        self._ahead = ahead
        self._waiting = {}
        self._next = 0
        self._lock = threading.Lock()

    def check(self, reading):
        if reading.shuffle:
            names = ", ".join(map(repr, self.tops))
            raise ValueError(f"what gives {names} has no other order: do not shuffle")

    def batch(self, number, reading):
        with self._lock:
            while self._next <= number:
                self._waiting[self._next] = next(self._blobs)
                self._waiting.pop(self._next - self._ahead, None)
                self._next += 1
            return self._waiting.pop(number)
