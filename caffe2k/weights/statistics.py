"""What the values of a blob are like, without the blob in memory as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from caffe2k.weights.blob import Blob
from caffe2k.weights.slabs import in_order


@dataclass(frozen=True)
class Statistics:
    """Of a blob's finite values; None where there are none.

    `strange` is how many are no numbers, or infinite.
    """

    minimum: float | None
    mean: float | None
    maximum: float | None
    std: float | None
    strange: int

    @property
    def all_zero(self) -> bool:
        """Whether every value is 0, and there are some."""
        return self.minimum == self.maximum == 0 and not self.strange


def statistics(blob: Blob) -> Statistics:
    """The statistics, in float64, of all of a blob's values that its file holds."""
    count, strange = 0, 0
    mean = squares = 0.0
    lowest, highest = math.inf, -math.inf
    for slab in in_order(blob.load()):
        values = slab.reshape(-1)
        finite = np.isfinite(values)
        if not finite.all():
            strange += int(values.size - finite.sum())
            values = values[finite]
        if not values.size:
            continue
        lowest = min(lowest, float(values.min()))
        highest = max(highest, float(values.max()))
        part = float(values.mean(dtype=np.float64))
        distance = part - mean
        # Two sets' means and squares make those of both (Chan, Golub, LeVeque 1983).
        total = count + values.size
        squares += float(values.var(dtype=np.float64)) * values.size
        squares += distance**2 * count * values.size / total
        mean += distance * values.size / total
        count = total
    if not count:
        return Statistics(None, None, None, None, strange)
    return Statistics(lowest, mean, highest, math.sqrt(squares / count), strange)
