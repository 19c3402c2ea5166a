"""From readers of data layers to the endless (x, y) batches that fit() takes."""

import json
import os
import sys
import types
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .reading import Iterated, Reader, Reading


def locate(root, name, named_in):
    """The path of `name`, which a prototxt names at `named_in` (file:line).

    A relative name is looked up in the folder `root`. Raises FileNotFoundError, which
    says what was named where and the path that was tried.
    """
    path = Path(root, name)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{name!r}, named in {named_in}, is not at {path.resolve()}: put it there, "
            "or set CAFFE_DATA_ROOT to the folder that it is relative to"
        )
    return path


def channels_last(array):
    """Moves the second axis of a batch of rank 4 or 5 last; others stay as they are."""
    if array.ndim not in (4, 5):
        return array
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def launched_as(environment):
    """The (rank, world) that a launcher gave this process, (0, 1) where none did.

    Reads what keras.distribution.initialize, torchrun and tf.distribute read.
    """
    for rank, world in (
        ("KERAS_DISTRIBUTION_PROCESS_ID", "KERAS_DISTRIBUTION_NUM_PROCESSES"),
        ("RANK", "WORLD_SIZE"),
    ):
        if rank in environment and world in environment:
            return int(environment[rank]), int(environment[world])
    cluster = json.loads(environment.get("TF_CONFIG") or "{}")
    workers = cluster.get("cluster", {}).get("worker", ())
    return (cluster["task"]["index"], len(workers)) if len(workers) > 1 else (0, 1)


class Batches:
    """An endless iterator of the (x, y) that model.fit takes, read ahead by threads.

    All `readers` step together: each batch takes one from every reader, whatever the
    length of its cycle. Besides those of this package, anything with `tops` that iterates
    over dicts of arrays is a reader; each process reads all of it.

    `inputs` and `outputs` say which top goes where: a top's name for a single array, or
    a dict from the model's name of an input or output to a top. Without outputs the
    batches are (x,). Arrays keep Caffe's axes, (N, C, H, W), with
    data_format="channels_first"; else ranks 4 and 5 leave with their channels last.

    seed: of shuffling, crops, mirrors and fillers; the same seed gives the same batches.
    shuffle: a new order in each round, which Caffe's Data layer lacks; the same for all
        readers, which must have as many records.
    skip_bad: the place of a record that cannot be read is taken by the next one of its
        batch, and their number is printed at the end; else it is an error.
    rank, world: which of several processes this is; each reads its own share of the
        records. By default as the launcher's environment says, see `launched_as`.
    prefetch: so many batches are read ahead, by `workers` threads, or one for each.

    What a reader raises is raised here. Closing it, or forgetting it, ends the threads.
    """

    def __init__(
        self,
        readers,
        inputs,
        outputs=None,
        data_format="channels_last",
        *,
        seed=None,
        shuffle=False,
        skip_bad=False,
        rank=None,
        world=None,
        prefetch=4,
        workers=None,
    ):
        if rank is None and world is None:
            rank, world = launched_as(os.environ)
        rank, world = rank or 0, world or 1
        if seed is None and world == 1:
            # One for all readers: they are shuffled alike.
            seed = np.random.SeedSequence().entropy
        bad = set() if skip_bad else None
        prefetch = max(1, prefetch)
        numbered = [
            (
                _numbered(reader, prefetch),
                Reading(seed, stream, rank, world, shuffle, bad),
            )
            for stream, reader in enumerate(readers)
        ]
        tops = {top for reader in readers for top in reader.tops}
        for wanted in (inputs, outputs):
            _require(wanted, tops)
        for reader, reading in numbered:
            reader.check(reading)
        if shuffle:
            _require_same_rounds([reader for reader, _ in numbered])
        arrange = channels_last if data_format == "channels_last" else _plain
        self._make = _Make(numbered, inputs, outputs, arrange)
        self.batches_read = 0
        self._prefetch = prefetch
        self._ahead = deque()
        self._pool = ThreadPoolExecutor(workers or prefetch, "data")
        self.close = weakref.finalize(self, _finish, self._pool, bad)

    @property
    def __class__(self):
        """A generator's: it is by their class that Keras tells what gives batches."""
        return types.GeneratorType

    def __iter__(self):
        return self

    def __next__(self):
        if not self.close.alive:
            raise StopIteration
        self._read_ahead()
        try:
            batch = self._ahead.popleft().result()
        except BaseException:
            self.close()
            raise
        self.batches_read += 1
        self._read_ahead()
        return batch

    def skip(self, number):
        """Passes over `number` batches: what follows is as if they had been read."""
        for _ in range(min(number, len(self._ahead))):
            self._ahead.popleft().cancel()
        self.batches_read += number

    def _read_ahead(self):
        while len(self._ahead) < self._prefetch:
            number = self.batches_read + len(self._ahead)
            self._ahead.append(self._pool.submit(self._make, number))


class _Make:
    """Makes a batch; knows nothing of the iterator, so that it can be forgotten."""

    def __init__(self, readers, inputs, outputs, arrange):
        self._readers = readers
        self._inputs = inputs
        self._outputs = outputs
        self._arrange = arrange

    def __call__(self, number):
        blobs = {}
        for reader, reading in self._readers:
            blobs.update(reader.batch(number, reading))
        x = self._pick(blobs, self._inputs)
        if self._outputs is None:
            return (x,)
        return x, self._pick(blobs, self._outputs)

    def _pick(self, blobs, wanted):
        if isinstance(wanted, dict):
            return {name: self._arrange(blobs[top]) for name, top in wanted.items()}
        return self._arrange(blobs[wanted])


def _require_same_rounds(readers):
    """In one order, records of the same place stay together; so there are as many."""
    rounds = {reader.tops: found for reader in readers if (found := reader.round())}
    if len(set(rounds.values())) > 1:
        lengths = ", ".join(f"{sum(n)} of {tops[0]!r}" for tops, n in rounds.items())
        raise ValueError(f"different numbers of records cannot be shuffled: {lengths}")


def _numbered(reader, prefetch):
    """A reader that gives batches by number."""
    if isinstance(reader, Reader):
        return reader
    return Iterated(reader, reader.tops, ahead=prefetch)


def _plain(array):
    return np.ascontiguousarray(array)


def _require(wanted, tops):
    names = wanted.values() if isinstance(wanted, dict) else [wanted]
    for name in names:
        if name is not None and name not in tops:
            raise ValueError(f"no reader gives {name!r}: they give {sorted(tops)}")


def _finish(pool, bad):
    # Without waiting: the garbage collector may call this in one of the threads.
    pool.shutdown(wait=False, cancel_futures=True)
    if bad:
        names = ", ".join(sorted(bad)[:5]) + (", ..." if len(bad) > 5 else "")
        print(f"{len(bad)} bad records were skipped: {names}", file=sys.stderr)
