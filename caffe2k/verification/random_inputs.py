"""What a net is given where nobody gave it anything: random, but of use to its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caffe2k.ir.net import Layer
from caffe2k.translation import Translation

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

_REGION_LAYERS = {
    "ROIPooling": "roi_pooling_param",
    "PSROIPooling": "psroi_pooling_param",
}
"""Layers whose second bottom are regions (roi_pooling_layer.cpp)."""


def random_inputs(translation: Translation) -> dict[str, NDArray[Any]]:
    """What data layers give, by blob, in Caffe's axis order, always the same.

    That is more than the model's inputs: of some blobs Caffe reads the shape alone.
    Values lie in the range of images about their mean; regions of interest within the
    image.
    """
    import numpy as np

    random = np.random.RandomState(1)
    shapes = _shapes(translation, {b.name for b in translation.net.whole.sources})
    inputs = {
        name: random.uniform(-128, 128, shape).astype("float32")
        for name, shape in shapes.items()
    }
    net = translation.net.net
    for layer in net.layers:
        if layer.type in _REGION_LAYERS and layer.bottoms[1].name in inputs:
            regions, features = layer.bottoms[1].name, net.shapes[layer.bottoms[0]]
            rows = _regions(random, shapes[regions][0], layer, features)
            inputs[regions] = rows.reshape(shapes[regions])
    return inputs


def _regions(
    random: RandomState, count: int, layer: Layer, features: tuple[int | None, ...]
) -> NDArray[Any]:
    """Rows (count, 5) of the image's number, x1, y1, x2 and y2, in pixels of the image."""
    import numpy as np

    images, _, height, width = (size or 1 for size in features)
    scale = getattr(layer.message, _REGION_LAYERS[layer.type]).spatial_scale
    corners = np.sort(random.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    pixels = np.floor(corners * (np.array([width, height] * 2) - 1) / scale)
    numbers = random.randint(0, images, (count, 1))
    return np.hstack([numbers, pixels]).astype("float32")


def input_shapes(translation: Translation) -> dict[str, tuple[int, ...]]:
    """The shapes of the model's inputs by blob, in Caffe's axis order."""
    inputs = translation.net.whole.program.inputs
    return _shapes(translation, {entry.blob for entry in inputs})


def _shapes(translation: Translation, names: set[str]) -> dict[str, tuple[int, ...]]:
    return {
        blob.name: tuple(size or 1 for size in shape)
        for blob, shape in translation.net.net.shapes.items()
        if blob.name in names and blob.version == 0
    }
