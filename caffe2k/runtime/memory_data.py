"""Caffe's MemoryData and Input layers: arrays that the program hands over."""

import numpy as np

from .reading import Cycle, Reader


class MemoryReader(Reader):
    """Endless batches of the rows of two arrays, through them and round again.

    arrays: a dict from each of `tops` to an array, the images (N, C, H, W) and their
    labels (N,); None where nobody has handed them over. N is a multiple of batch_size,
    `shape` is (C, H, W). Nothing is transformed.

    Batches are dicts from top to float32 array. Raises ValueError where Caffe refuses
    the arrays.
    Caffe: memory_data_layer.cpp, Reset and Forward_cpu.
    """

    def __init__(self, arrays, batch_size, tops, shape):
        self.batch_size = batch_size
        self.tops = tuple(tops)
        missing = [top for top in tops if top not in (arrays or ())]
        if missing:
            raise ValueError(
                f"the net reads {', '.join(map(repr, missing))} from memory: hand over "
                "arrays, a dict from each of them to an array"
            )
        images, labels = (np.asarray(arrays[top], np.float32) for top in tops)
        if images.shape[1:] != tuple(shape):
            wanted = ", ".join(["N", *map(str, shape)])
            raise ValueError(
                f"{tops[0]!r} has the shape {images.shape}, not ({wanted})"
            )
        if labels.size != len(images):
            raise ValueError(f"{len(images)} images have {labels.size} labels")
        if not len(images) or len(images) % batch_size:
            raise ValueError(
                f"{len(images)} images are no multiple of the batch size, {batch_size}"
            )
        self._arrays = (images, labels.reshape(-1))
        self.items = Cycle(range(len(images)))

    def batch(self, number, reading):
        rows = reading.pick(self.items, number, self.batch_size)
        return {top: a[rows] for top, a in zip(self.tops, self._arrays, strict=True)}


class InputReader:
    """The blobs of Input layers, as the program gives them.

    blobs: an iterator of dicts from each of `tops` to an array, one dict a batch; None
    where nobody has handed it over. shapes: one a top, the first axis of which may have
    another size. Iterating gives dicts of float32 arrays; ValueError where they do not
    fit.
    Caffe: input_layer.cpp.
    """

    def __init__(self, blobs, tops, shapes):
        if blobs is None:
            raise ValueError(
                f"the net's input {', '.join(map(repr, tops))} comes from the program: "
                "hand over blobs, an iterator of dicts from each of them to an array"
            )
        self.tops = tuple(tops)
        self.shapes = shapes
        self._blobs = blobs

    def __iter__(self):
        return map(self._checked, self._blobs)

    def _checked(self, blobs):
        checked = {}
        for top, shape in zip(self.tops, self.shapes, strict=True):
            if top not in blobs:
                raise ValueError(f"the blobs lack {top!r}: they have {sorted(blobs)}")
            array = np.asarray(blobs[top], np.float32)
            if array.shape[1:] != tuple(shape[1:]):
                raise ValueError(f"{top!r} has the shape {array.shape}, not {shape}")
            checked[top] = array
        return checked
