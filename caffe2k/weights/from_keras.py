"""From the weights of a Keras model back to the blobs of the Caffe net behind it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from caffe2k.weights import transforms
from caffe2k.weights.blob import AnyArray, Blob, CaffeModel, FloatArray, LayerBlobs
from caffe2k.weights.coverage import CoverageReport, LayerCoverage, Mismatch
from caffe2k.weights.keras_files import KerasBlobs
from caffe2k.weights.plan import PlannedLayer, PlannedWeight, WeightPlan

_FACTOR = 2


def from_keras(
    name: str, plan: WeightPlan, keras: KerasBlobs, types: Mapping[str, str]
) -> tuple[CaffeModel, CoverageReport]:
    """The blobs of the net called `name`, not loaded yet, and what became of each layer.

    `types` are the types of the net's layers by their names, in the net's order. A
    BatchNorm comes back with the scale factor 1 (see `unscaled`).
    """
    found: dict[str, dict[int, Blob]] = {}
    missing: list[LayerCoverage] = []
    mismatched: list[Mismatch] = []
    for layer in plan.layers:
        blobs = keras.get(layer.keras_name)
        caffe_layer = layer.weights[0].caffe_layer
        if blobs is None:
            shapes = tuple(weight.caffe_shape for weight in layer.weights)
            missing.append(LayerCoverage(caffe_layer, layer.keras_name, shapes))
            continue
        reason = _misfit(layer, blobs)
        if reason is not None:
            mismatched.append(Mismatch(caffe_layer, layer.keras_name, reason))
            continue
        for weight, blob in zip(layer.weights, blobs, strict=True):
            for place in weight.blobs:
                caffe = _caffe_blob(blob, weight, place.caffe_shape)
                found.setdefault(place.caffe_layer, {})[place.blob_index] = caffe
    order = [*types, *(layer for layer in found if layer not in types)]
    layers = tuple(
        unscaled(LayerBlobs(layer, types.get(layer, ""), _in_order(found[layer])))
        for layer in order
        if layer in found
    )
    known = {layer.keras_name: layer for layer in plan.layers}
    report = CoverageReport(
        ported=tuple(
            LayerCoverage(la.name, _keras_name(plan, la.name), _shapes(la.blobs))
            for la in layers
        ),
        missing=tuple(missing),
        unused=tuple(
            LayerCoverage(layer, "", _shapes(blobs))
            for layer, blobs in keras.items()
            if layer not in known
        ),
        mismatched=tuple(mismatched),
    )
    return CaffeModel(name, layers), report


def _keras_name(plan: WeightPlan, caffe_layer: str) -> str:
    return next(
        layer.keras_name
        for layer, weight in plan.weights()
        if any(blob.caffe_layer == caffe_layer for blob in weight.blobs)
    )


def _shapes(blobs: tuple[Blob | None, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(blob.shape for blob in blobs if blob is not None)


def _in_order(blobs: dict[int, Blob]) -> tuple[Blob | None, ...]:
    return tuple(blobs.get(index) for index in range(max(blobs) + 1))


def _misfit(layer: PlannedLayer, blobs: tuple[Blob, ...]) -> str | None:
    if len(blobs) != len(layer.weights):
        return f"the file has {len(blobs)} weights, the model {len(layer.weights)}"
    for weight, blob in zip(layer.weights, blobs, strict=True):
        if blob.shape != weight.keras_shape:
            return (
                f"`{weight.name}` is {blob.shape} in the file, "
                f"{weight.keras_shape} in the model"
            )
    return None


def _caffe_blob(blob: Blob, weight: PlannedWeight, shape: tuple[int, ...]) -> Blob:
    return Blob(shape, math.prod(shape), load=partial(_load, blob, weight))


def _load(blob: Blob, weight: PlannedWeight) -> AnyArray:
    steps = transforms.invert(weight.steps, weight.caffe_shape)
    while steps and isinstance(steps[-1], transforms.Reshape):
        steps = steps[:-1]
    return transforms.apply(steps, blob.view().reshape(blob.shape))


def unscaled(layer: LayerBlobs) -> LayerBlobs:
    """A BatchNorm with the factor 1, and its statistics divided by what it was.

    Many tools that read caffemodels forget the factor. Caffe multiplies by its
    reciprocal, so that it computes the very same with either; a factor of 0 says that
    there are no statistics yet, and stays (batch_norm_layer.cpp, Forward_cpu).
    """
    blobs = layer.blobs
    if layer.type != "BatchNorm" or len(blobs) != _FACTOR + 1 or None in blobs:
        return layer
    factor = blobs[_FACTOR]
    assert factor is not None
    value = factor.array().reshape(-1)[0]
    if value in (0, 1):
        return layer
    scale = np.float32(1) / value
    statistics = (
        dataclasses.replace(blob, load=partial(_scaled, blob, scale))
        for blob in blobs[:_FACTOR]
        if blob is not None
    )
    one = dataclasses.replace(factor, load=partial(np.ones, factor.shape, np.float32))
    return dataclasses.replace(layer, blobs=(*statistics, one))


def _scaled(blob: Blob, scale: np.float32) -> FloatArray:
    values: FloatArray = blob.array() * scale
    return values
