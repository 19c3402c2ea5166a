"""WeightPlan: which Caffe blob becomes which Keras weight, and how."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from caffe2k.weights.transforms import IDENTITY, Shape, Steps, output_shape

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class PlannedBlob:
    """The `blob_index`-th parameter of a Caffe layer, in the shape that Caffe gives it."""

    caffe_layer: str
    blob_index: int
    caffe_shape: Shape


@dataclass(frozen=True)
class PlannedWeight:
    """A Keras weight, the blob that it is made of, and the `steps` between them.

    `aliases` are the parameters that share this blob through `param { name }`: they stand
    in binary files too, and in Caffe each one read overwrites the same memory.
    """

    name: str
    caffe_layer: str
    blob_index: int
    caffe_shape: Shape
    steps: Steps = IDENTITY
    aliases: tuple[PlannedBlob, ...] = ()
    trainable: bool = True

    @property
    def blobs(self) -> tuple[PlannedBlob, ...]:
        """The blob and its aliases."""
        owner = PlannedBlob(self.caffe_layer, self.blob_index, self.caffe_shape)
        return (owner, *self.aliases)

    @property
    def keras_shape(self) -> Shape:
        """The weight's shape. Raises ValueError where the steps don't fit the blob."""
        return output_shape(self.steps, self.caffe_shape)


@dataclass(frozen=True)
class PlannedLayer:
    """A Keras layer and its weights: the trainable ones, then the others."""

    keras_name: str
    weights: tuple[PlannedWeight, ...]


@dataclass(frozen=True)
class WeightPlan:
    """Every Keras layer that has weights, in the model's order."""

    layers: tuple[PlannedLayer, ...]

    def weights(self) -> Iterator[tuple[PlannedLayer, PlannedWeight]]:
        """Every weight with its layer."""
        for layer in self.layers:
            for weight in layer.weights:
                yield layer, weight


@dataclass(frozen=True)
class LazyArray:
    """A named float32 array whose values are loaded on demand.

    `load` gives them in C order and may give them in another shape than `shape` or in
    another type than float32, where that saves a copy.
    """

    name: str
    shape: Shape
    load: Callable[[], npt.NDArray[np.generic]] = field(repr=False)

    @property
    def nbytes(self) -> int:
        """How many bytes the values take as float32."""
        return 4 * math.prod(self.shape)

    def renamed(self, name: str) -> LazyArray:
        """The same values under another name."""
        return replace(self, name=name)

    def array(self) -> npt.NDArray[np.float32]:
        """The values as float32 in the array's shape."""
        return self.load().astype("float32", copy=False).reshape(self.shape)


@dataclass(frozen=True)
class KerasLayer:
    """A Keras layer's weights in the order of the plan."""

    name: str
    weights: tuple[LazyArray, ...]
