"""Deploy nets of random layers, with the shapes that Caffe gives their blobs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.unit.nets import entry, layer

T = TypeVar("T")
Shape = tuple[int, ...]

_LARGEST_INPUT = 4000
"""How many values an InnerProduct layer takes of a sample, so that nets stay small."""


class RandomNet:
    """A net whose layers read any blobs before them, above all the last ones.

    `text` is its prototxt; `shapes` are those of its blobs by name, worked out here.
    """

    def __init__(self, seed: int, layers: int) -> None:
        self._random = random.Random(seed)
        self._kinds = [kind for kind, weight in _KINDS for _ in range(weight)]
        self._layers = 0
        self.shapes: dict[str, Shape] = {}
        self.text = ""
        samples, height, width = self._in(1, 2), self._in(5, 12), self._in(5, 12)
        for name in ("data", "other")[: self._in(1, 2)]:
            self.shapes[name] = (samples, self._of(2, 3, 4, 6), height, width)
            self.text += entry(name, *self.shapes[name])
        while self._layers < layers:
            self._of(*self._kinds)(self)

    def _in(self, least: int, most: int) -> int:
        return self._random.randint(least, most)

    def _of(self, *choices: T) -> T:
        return self._random.choice(choices)

    def _maybe(self, text: str, probability: float = 0.3) -> str:
        return text if self._random.random() < probability else ""

    def blob(self, fits: Callable[[Shape], bool]) -> str | None:
        """One of the blobs whose shapes fit, often one of the last."""
        names = [name for name, shape in self.shapes.items() if fits(shape)]
        if not names:
            return None
        return (
            self._of(*names[-6:]) if self._random.random() < 0.6 else self._of(*names)
        )

    def add(
        self, kind: str, bottoms: Sequence[str], tops: Sequence[Shape], param: str = ""
    ) -> None:
        """Adds a layer whose tops have these shapes."""
        name = f"{kind.lower()}{self._layers}"
        names = [f"{name}_{i}" for i in range(len(tops))] if len(tops) > 1 else [name]
        self.text += layer(name, kind, " ".join(bottoms), " ".join(names), param)
        self.shapes.update(zip(names, tops, strict=True))
        self._layers += 1

    def add_elementwise(self, kind: str, bottom: str, param: str) -> None:
        """Adds a layer whose top has the bottom's shape, now and then in place."""
        fixed = bottom in ("data", "other") or kind in _NEVER_IN_PLACE
        if fixed or self._random.random() < 0.7:
            self.add(kind, [bottom], [self.shapes[bottom]], param)
            return
        name = f"{kind.lower()}{self._layers}"
        self.text += layer(name, kind, bottom, bottom, param)
        self._layers += 1

    def convolution(self) -> None:
        bottom = self.blob(_is_image)
        if bottom is None:
            return
        samples, channels, *plane = self.shapes[bottom]
        kernel, dilation = self._pair(1, 4), self._of(1, 1, 1, 2)
        stride, pad = self._pair(1, 3), self._pair(0, 2)
        extents = (dilation * (k - 1) + 1 for k in kernel)
        each = zip(plane, extents, stride, pad, strict=True)
        rooms = [(size + 2 * p - extent, s) for size, extent, s, p in each]
        if any(room < 0 for room, _ in rooms):
            return
        group = self._of(*(g for g in range(1, channels + 1) if channels % g == 0))
        outputs = group * self._in(1, 3)
        settings = (
            f"num_output: {outputs} {self._sizes('kernel', kernel)} "
            f"{self._sizes('stride', stride)} {self._sizes('pad', pad)} "
            f"dilation: {dilation} group: {group} {self._maybe('bias_term: false')}"
        )
        top = (samples, outputs, *(room // s + 1 for room, s in rooms))
        self.add("Convolution", [bottom], [top], f"convolution_param {{ {settings} }}")

    def _pair(self, least: int, most: int) -> tuple[int, int]:
        """Two numbers, mostly the same."""
        first = self._in(least, most)
        return (first, first if self._random.random() < 0.7 else self._in(least, most))

    def _sizes(self, name: str, sizes: tuple[int, int]) -> str:
        if sizes[0] != sizes[1] or self._maybe("apart"):
            return f"{name}_h: {sizes[0]} {name}_w: {sizes[1]}"
        return f"{'kernel_size' if name == 'kernel' else name}: {sizes[0]}"

    def deconvolution(self) -> None:
        bottom = self.blob(lambda shape: _is_image(shape) and max(shape[2:]) < 20)
        if bottom is None:
            return
        samples, channels, *plane = self.shapes[bottom]
        kernel, stride, pad = self._in(1, 5), self._in(1, 3), self._in(0, 2)
        sizes = [stride * (size - 1) + kernel - 2 * pad for size in plane]
        if min(sizes) < 1:
            return
        group = self._of(1, 1, channels)
        outputs = group * self._in(1, 2)
        settings = (
            f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} "
            f"group: {group} {self._maybe('bias_term: false')}"
        )
        top = (samples, outputs, *sizes)
        self.add(
            "Deconvolution", [bottom], [top], f"convolution_param {{ {settings} }}"
        )

    def pooling(self) -> None:
        bottom = self.blob(_is_image)
        if bottom is None:
            return
        *lead, height, width = self.shapes[bottom]
        pool = self._of("MAX", "AVE")
        if self._maybe("global", 0.15):
            settings = f"pool: {pool} global_pooling: true"
            self.add(
                "Pooling", [bottom], [(*lead, 1, 1)], f"pooling_param {{ {settings} }}"
            )
            return
        kernel, stride = self._pair(1, 5), self._in(1, 3)
        pad = self._of(0, 0, *range(min(kernel)))
        if min(kernel) < stride or kernel[0] > height or kernel[1] > width:
            return
        sizes = []
        for size, k in zip((height, width), kernel, strict=True):
            pooled = math.ceil((size + 2 * pad - k) / stride) + 1
            outside = pad > 0 and (pooled - 1) * stride >= size + pad
            sizes.append(pooled - outside)
        settings = f"pool: {pool} {self._sizes('kernel', kernel)} stride: {stride}"
        param = f"pooling_param {{ {settings} pad: {pad} }}"
        self.add("Pooling", [bottom], [(*lead, *sizes)], param)

    def activation(self) -> None:
        bottom = self.blob(bool)
        assert bottom is not None
        kind, param = self._of(*_ACTIVATIONS)
        self.add_elementwise(kind, bottom, param)

    def normalization(self) -> None:
        bottom = self.blob(_is_image)
        if bottom is not None:
            kind, param = self._of(*_NORMALIZATIONS)
            self.add_elementwise(kind, bottom, param)

    def softmax(self) -> None:
        bottom = self.blob(lambda shape: len(shape) > 1)
        if bottom is not None:
            axis = self._axis(bottom)
            param = f"softmax_param {{ axis: {axis} }}"
            self.add("Softmax", [bottom], [self.shapes[bottom]], param)

    def _axis(self, bottom: str) -> int:
        """Any axis but the samples', often the channels'."""
        rank = len(self.shapes[bottom])
        return self._of(1, self._in(1, rank - 1))

    def inner_product(self) -> None:
        bottom = self.blob(lambda s: len(s) > 1 and math.prod(s[1:]) < _LARGEST_INPUT)
        if bottom is None:
            return
        axis, outputs = self._axis(bottom), self._in(2, 9)
        settings = (
            f"num_output: {outputs} axis: {axis} {self._maybe('bias_term: false')}"
        )
        top = (*self.shapes[bottom][:axis], outputs)
        self.add(
            "InnerProduct", [bottom], [top], f"inner_product_param {{ {settings} }}"
        )

    def flatten(self) -> None:
        bottom = self.blob(lambda shape: len(shape) > 2)
        if bottom is None:
            return
        shape = self.shapes[bottom]
        start = self._axis(bottom)
        end = self._of(len(shape) - 1, self._in(start, len(shape) - 1))
        top = (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
        param = f"flatten_param {{ axis: {start} end_axis: {end} }}"
        self.add("Flatten", [bottom], [top], param)

    def reshape(self) -> None:
        bottom = self.blob(lambda shape: len(shape) > 1 and math.prod(shape[1:]) > 1)
        if bottom is None:
            return
        samples, *rest = self.shapes[bottom]
        left, sizes = math.prod(rest), []
        for _ in range(self._in(0, 2)):
            sizes.append(self._of(*(d for d in range(1, 41) if left % d == 0)))
            left //= sizes[-1]
        sizes.append(left)
        self._random.shuffle(sizes)
        written = [0, *sizes]
        if self._maybe("unknown", 0.5):
            written[self._in(1, len(sizes))] = -1
        dims = " ".join(f"dim: {size}" for size in written)
        param = f"reshape_param {{ shape {{ {dims} }} }}"
        self.add("Reshape", [bottom], [(samples, *sizes)], param)

    def permute(self) -> None:
        bottom = self.blob(lambda shape: len(shape) > 2)
        if bottom is None:
            return
        shape = self.shapes[bottom]
        order = [0, *self._random.sample(range(1, len(shape)), len(shape) - 1)]
        param = " ".join(f"order: {axis}" for axis in order)
        top = tuple(shape[axis] for axis in order)
        self.add("Permute", [bottom], [top], f"permute_param {{ {param} }}")

    def concat(self) -> None:
        first = self.blob(lambda shape: len(shape) > 1)
        if first is None:
            return
        shape, axis = self.shapes[first], self._axis(first)
        others = [n for n, other in self.shapes.items() if _joins(other, shape, axis)]
        bottoms = [first, *(self._of(*others) for _ in range(self._in(1, 2)))]
        size = sum(self.shapes[name][axis] for name in bottoms)
        top = (*shape[:axis], size, *shape[axis + 1 :])
        self.add("Concat", bottoms, [top], f"concat_param {{ axis: {axis} }}")

    def eltwise(self) -> None:
        first = self.blob(bool)
        assert first is not None
        shape = self.shapes[first]
        alike = [name for name, other in self.shapes.items() if other == shape]
        bottoms = [first, *(self._of(*alike) for _ in range(self._in(1, 2)))]
        operation = self._of("SUM", "SUM", "PROD", "MAX")
        coefficients = " ".join(f"coeff: {self._of(1, -1, 0.5, 2)}" for _ in bottoms)
        settings = f"operation: {operation}"
        if operation == "SUM":
            settings += " " + self._maybe(coefficients, 0.5)
        self.add("Eltwise", bottoms, [shape], f"eltwise_param {{ {settings} }}")

    def slice(self) -> None:
        bottom = self.blob(lambda shape: max(shape[1:], default=1) > 1)
        if bottom is None:
            return
        shape = self.shapes[bottom]
        axis = self._of(*(a for a in range(1, len(shape)) if shape[a] > 1))
        tops = self._in(2, min(3, shape[axis]))
        points = sorted(self._random.sample(range(1, shape[axis]), tops - 1))
        ends = zip([0, *points], [*points, shape[axis]], strict=True)
        shapes = [(*shape[:axis], e - b, *shape[axis + 1 :]) for b, e in ends]
        settings = " ".join(f"slice_point: {point}" for point in points)
        param = f"slice_param {{ axis: {axis} {settings} }}"
        self.add("Slice", [bottom], shapes, param)

    def crop(self) -> None:
        bottom = self.blob(_is_image)
        if bottom is None:
            return
        *lead, height, width = self.shapes[bottom]
        smaller = self.blob(
            lambda s: _is_image(s) and s[2] <= height and s[3] <= width,
        )
        assert smaller is not None
        plane = self.shapes[smaller][2:]
        offsets = (self._in(0, height - plane[0]), self._in(0, width - plane[1]))
        settings = " ".join(f"offset: {offset}" for offset in offsets)
        param = f"crop_param {{ axis: 2 {settings} }}"
        self.add("Crop", [bottom, smaller], [(*lead, *plane)], param)


def _is_image(shape: Shape) -> bool:
    return len(shape) == 4


def _joins(shape: Shape, other: Shape, axis: int) -> bool:
    """Whether two blobs differ along one axis at most."""
    return len(shape) == len(other) and all(
        a == b or i == axis for i, (a, b) in enumerate(zip(shape, other, strict=True))
    )


_ACTIVATIONS = (
    ("ReLU", ""),
    ("ReLU", "relu_param { negative_slope: 0.1 }"),
    ("TanH", ""),
    ("Sigmoid", ""),
    ("AbsVal", ""),
    ("ELU", ""),
    ("BNLL", ""),
    ("Power", "power_param { scale: 0.5 shift: 0.25 }"),
    ("Power", "power_param { power: 2 scale: 0.5 shift: 0.25 }"),
    ("Dropout", ""),
)

_NORMALIZATIONS = (
    ("BatchNorm", "batch_norm_param { eps: 0.01 }"),
    ("Scale", "scale_param { bias_term: true }"),
    ("Scale", ""),
    ("PReLU", ""),
    ("PReLU", "prelu_param { channel_shared: true }"),
    # Two almost equal values, brought to unit variance, would be mostly rounding error.
    ("MVN", "mvn_param { normalize_variance: false }"),
    ("MVN", "mvn_param { normalize_variance: false across_channels: true }"),
    ("LRN", "lrn_param { local_size: 3 alpha: 0.01 }"),
    ("LRN", "lrn_param { alpha: 0.01 norm_region: WITHIN_CHANNEL }"),
    ("Normalize", "norm_param { across_spatial: false }"),
)

_NEVER_IN_PLACE = ("AbsVal", "LRN", "MVN", "Normalize")
"""Caffe refuses it, or reads the bottom again after it has written the top."""

_KINDS: tuple[tuple[Callable[[RandomNet], None], int], ...] = (
    (RandomNet.convolution, 3),
    (RandomNet.deconvolution, 1),
    (RandomNet.pooling, 2),
    (RandomNet.activation, 3),
    (RandomNet.normalization, 3),
    (RandomNet.softmax, 1),
    (RandomNet.inner_product, 1),
    (RandomNet.flatten, 2),
    (RandomNet.reshape, 2),
    (RandomNet.permute, 2),
    (RandomNet.concat, 2),
    (RandomNet.eltwise, 1),
    (RandomNet.slice, 1),
    (RandomNet.crop, 1),
)
