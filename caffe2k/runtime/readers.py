"""From readers of data layers to the endless (x, y) batches that fit() takes."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np


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


def random_generator(seed=None):
    """What the readers of a net draw from, one after the other; `seed` is random_seed."""
    return np.random.default_rng(seed)


def channels_last(array):
    """Moves the second axis of a batch of rank 4 or 5 last; others stay as they are."""
    if array.ndim not in (4, 5):
        return array
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def batches(readers, inputs, outputs=None, data_format="channels_last", prefetch=4):
    """An endless generator of the (x, y) that model.fit takes, read ahead by a thread.

    All `readers` step together: each batch takes one from every reader, whatever the
    length of its cycle. `inputs` and `outputs` say which top goes where: a top's name
    for a single array, or a dict from the model's name of an input or output to a top.
    Without outputs the batches are (x,). Arrays keep Caffe's axes, (N, C, H, W), with
    data_format="channels_first"; else ranks 4 and 5 leave with their channels last.
    `prefetch` batches are read ahead; what a reader raises there is raised here.
    Closing the generator ends the thread.
    """
    tops = {top for reader in readers for top in reader.tops}
    for wanted in (inputs, outputs):
        _require(wanted, tops)
    arrange = channels_last if data_format == "channels_last" else np.asarray

    def pairs():
        for parts in zip(*readers, strict=True):
            blobs = {top: array for part in parts for top, array in part.items()}
            x = _pick(blobs, inputs, arrange)
            yield (x,) if outputs is None else (x, _pick(blobs, outputs, arrange))

    return _prefetched(pairs(), prefetch)


def _require(wanted, tops):
    names = wanted.values() if isinstance(wanted, dict) else [wanted]
    for name in names:
        if name is not None and name not in tops:
            raise ValueError(f"no reader gives {name!r}: they give {sorted(tops)}")


def _pick(blobs, wanted, arrange):
    if isinstance(wanted, dict):
        return {name: arrange(blobs[top]) for name, top in wanted.items()}
    return arrange(blobs[wanted])


def _prefetched(batches, depth):
    worker = ThreadPoolExecutor(1, "prefetch")
    try:
        ahead = deque(worker.submit(next, batches) for _ in range(depth))
        while True:
            batch = ahead.popleft().result()
            ahead.append(worker.submit(next, batches))
            yield batch
    finally:
        # Without waiting: the garbage collector may close us in the worker itself.
        worker.shutdown(wait=False, cancel_futures=True)
