"""A net's batches with the place that training or testing has reached in them."""

import collections
import threading


class Stream:
    """An endless iterator of batches that knows how many of them were `used`.

    `fit` reads ahead; `unused()` feeds it, and `advance()` says that it has trained on
    one. What was read ahead and not trained on comes again.
    """

    def __init__(self, batches):
        self.used = 0
        self._batches = iter(batches)
        self._ahead = collections.deque()
        # fit reads in a thread of its own, which outlives it for a moment.
        self._lock = threading.Lock()

    def __iter__(self):
        return self

    def __next__(self):
        """The next batch, which is used by that."""
        with self._lock:
            batch = self._ahead.popleft() if self._ahead else next(self._batches)
            self.used += 1
        return batch

    def skip(self, count):
        """Leaves out `count` batches, as if they had been used.

        The batches may have a `skip` of their own, which is faster than reading.
        """
        own_skip = getattr(self._batches, "skip", None)
        if own_skip is not None and not self._ahead:
            own_skip(count)
            self.used += count
            return
        for _ in range(count):
            next(self)

    def peek(self):
        """The next batch, which stays unused."""
        with self._lock:
            if not self._ahead:
                self._ahead.append(next(self._batches))
            return self._ahead[0]

    def unused(self):
        """A generator of the batches from the first unused one on, for fit."""
        place = self.used
        while True:
            with self._lock:
                while place - self.used >= len(self._ahead):
                    self._ahead.append(next(self._batches))
                batch = self._ahead[place - self.used]
            place += 1
            yield batch

    def advance(self):
        """The first unused batch, which `unused` has given, is used now."""
        with self._lock:
            self._ahead.popleft()
            self.used += 1
