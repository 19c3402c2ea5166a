"""Blob by blob: what the Keras model computed against what another runtime did."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

_COPY = re.compile(r"_split_\d+$")


@dataclass(frozen=True)
class BlobError:
    """How far a blob is off: max|a - b| / max(1, max|b|), b the reference.

    `shape` is the reference's, in Caffe's axis order; infinite where the shapes differ
    or one of both is not a number where the other is.
    """

    blob: str
    shape: tuple[int, ...]
    error: float


@dataclass(frozen=True)
class Verdict:
    """The errors in the net's order, and the blobs that only one side has."""

    reference: str
    tolerance: float
    errors: tuple[BlobError, ...]
    not_compared: tuple[str, ...]

    @property
    def first_difference(self) -> BlobError | None:
        """The first blob of the net that is off by more than the tolerance."""
        return next((e for e in self.errors if not e.error <= self.tolerance), None)

    @property
    def agrees(self) -> bool:
        """Whether something was compared, and all of it is within the tolerance."""
        return bool(self.errors) and self.first_difference is None


def compare(ours: Arrays, theirs: Arrays, reference: str, tolerance: float) -> Verdict:
    """Compares what both have; arrays are in Caffe's axis order, `ours` in the net's.

    The copies that Caffe makes where several layers read a blob are not missed
    (util/insert_splits.cpp, SplitBlobName).
    """
    alone = set(ours) ^ set(theirs)
    return Verdict(
        reference,
        tolerance,
        tuple(_errors(ours, theirs)),
        tuple(sorted(n for n in alone if n in ours or not _COPY.search(n))),
    )


def _errors(ours: Arrays, theirs: Arrays) -> Iterator[BlobError]:
    for name, array in ours.items():
        if name in theirs:
            yield BlobError(name, theirs[name].shape, _error(array, theirs[name]))


def _error(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    import numpy as np

    if ours.size != theirs.size:
        return float("inf")
    if not theirs.size:
        return 0.0
    a, b = ours.astype("float64").ravel(), theirs.astype("float64").ravel()
    differs = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    difference = np.abs(a[differs] - b[differs]).max(initial=0.0)
    if np.isnan(difference):
        return float("inf")
    largest = np.abs(b[np.isfinite(b)]).max(initial=1.0)
    return float(difference / largest)
