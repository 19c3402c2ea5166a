"""Blob, LayerBlobs, CaffeModel and SolverState: what files hold, loaded on demand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from caffe2k.weights.errors import WeightsError

Shape = tuple[int, ...]
FloatArray = npt.NDArray[np.float32]
AnyArray = npt.NDArray[np.generic]

MAX_AXES = 32
"""Caffe's kMaxBlobAxes (include/caffe/blob.hpp)."""

_LEGACY_AXES = 4


@dataclass(frozen=True)
class Blob:
    """One parameter blob in Caffe's axis order.

    `legacy` blobs were written with num, channels, height and width, so that their shape
    is padded with ones in front: a bias of 10 is (1, 1, 1, 10). `stored` is how many
    values the file holds, which a damaged file may contradict.
    """

    shape: Shape
    stored: int
    legacy: bool = False
    load: Callable[[], AnyArray] = field(repr=False, compare=False, kw_only=True)

    @property
    def count(self) -> int:
        """How many values the shape asks for."""
        return math.prod(self.shape)

    def has_shape(self, shape: Shape) -> bool:
        """Whether Caffe copies this blob into a parameter of `shape`.

        A legacy blob is compared from the last axis backwards, axes that the parameter
        lacks counting as 1; any other must be equal (blob.cpp, Blob::ShapeEquals).
        """
        if not self.legacy:
            return self.shape == shape
        padding = _LEGACY_AXES - len(shape)
        return padding >= 0 and self.shape == (1,) * padding + shape

    def view(self, name: str = "a blob") -> AnyArray:
        """The values as the file has them: of any float type, flat or in this shape.

        Raises WeightsError, which calls the blob by `name`, where the file holds another
        number of values (blob.cpp, Blob::FromProto).
        """
        if self.stored != self.count:
            raise WeightsError(
                "blob-count",
                f"{name} of shape {self.shape} needs {self.count} values, "
                f"its file holds {self.stored}",
                help="the file is damaged; fetch it again",
            )
        return self.load()

    def array(self) -> FloatArray:
        """The values as float32 in C order, in this blob's shape: a view where possible.

        Raises WeightsError as `view` does.
        """
        with np.errstate(all="ignore"):  # a double may be too large for a float
            return np.ascontiguousarray(self.view(), np.float32).reshape(self.shape)


@dataclass(frozen=True)
class LayerBlobs:
    """A layer of the file. A blob is None where an HDF5 file left out a shared one."""

    name: str
    type: str
    blobs: tuple[Blob | None, ...]


@dataclass(frozen=True)
class CaffeModel:
    """A file of weights: its net's name and all of its layers, in the file's order."""

    name: str
    layers: tuple[LayerBlobs, ...]


@dataclass(frozen=True)
class SolverState:
    """Where a solver stood: `iteration` updates were made.

    `history` holds a blob for each learnable parameter of the net, in the net's order;
    AdaDelta's and Adam's second ones follow behind all the first. `learned_net` is the
    path of the weights as Caffe was given it, "" if there is none. `minimum_loss` and
    `iter_last_event` are what SSD's plateau policy has seen, None in other files.
    """

    iteration: int
    current_step: int
    learned_net: str
    history: tuple[Blob, ...]
    minimum_loss: float | None = None
    iter_last_event: int | None = None
