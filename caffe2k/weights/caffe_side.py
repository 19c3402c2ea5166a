"""A CaffeModel as its net wants it: shapes, shared blobs, and the order of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from caffe2k.weights.blob import Blob, CaffeModel, LayerBlobs
from caffe2k.weights.plan import LazyArray, PlannedBlob, WeightPlan


def in_the_nets_shapes(model: CaffeModel, plan: WeightPlan) -> CaffeModel:
    """The model with the shapes of the net's parameters, where old files pad with ones."""
    planned = {
        (place.caffe_layer, place.blob_index): place.caffe_shape
        for _, weight in plan.weights()
        for place in weight.blobs
    }

    def shaped(layer: LayerBlobs, index: int, blob: Blob | None) -> Blob | None:
        shape = planned.get((layer.name, index))
        if blob is None or shape is None or not blob.has_shape(shape):
            return blob
        return dataclasses.replace(blob, shape=shape, legacy=False)

    layers = (
        dataclasses.replace(
            layer, blobs=tuple(shaped(layer, i, b) for i, b in enumerate(layer.blobs))
        )
        for layer in model.layers
    )
    return dataclasses.replace(model, layers=tuple(layers))


def for_the_net(
    model: CaffeModel, plan: WeightPlan, types: Mapping[str, str]
) -> CaffeModel:
    """The model with all layers of the net in its order, then those of the file alone.

    `types` are the types of the net's layers by name. Every layer has all of its blobs,
    shared ones too; one of which a blob is nowhere is left out, so that it keeps its
    filler's values (net.cpp, Net::CopyTrainedLayersFrom).
    """
    found = {
        (layer.name, index): blob
        for layer in model.layers
        for index, blob in enumerate(layer.blobs)
        if blob is not None
    }
    places: dict[str, dict[int, Blob | None]] = {}
    for _, weight in plan.weights():
        source = next((b for p in weight.blobs if (b := found.get(_key(p)))), None)
        for place in weight.blobs:
            blob = found.get(_key(place))
            if blob is None and source is not None:
                blob = dataclasses.replace(source, shape=place.caffe_shape)
            places.setdefault(place.caffe_layer, {})[place.blob_index] = blob
    given = {layer.name: layer for layer in model.layers}
    layers: list[LayerBlobs] = []
    for name, kind in types.items():
        blobs = places.get(name, {})
        whole = tuple(blobs[index] for index in sorted(blobs))
        if not blobs and name in given:
            whole = given[name].blobs
        if None not in whole:
            layers.append(LayerBlobs(name, kind, whole))
    layers += (layer for name, layer in given.items() if name not in types)
    return dataclasses.replace(model, layers=tuple(layers))


def shared_blobs(plan: WeightPlan) -> frozenset[tuple[str, int]]:
    """The (layer, index) of blobs that belong to another layer."""
    return frozenset(_key(p) for _, weight in plan.weights() for p in weight.aliases)


def _key(place: PlannedBlob) -> tuple[str, int]:
    return place.caffe_layer, place.blob_index


def arrays_of(layers: Iterable[LayerBlobs]) -> list[LazyArray]:
    """All blobs by `layer/index`; of layers with the same name the last one's."""
    arrays = (array for layer in layers for array in blob_arrays(layer))
    return list({array.name: array for array in arrays}.values())


def blob_arrays(layer: LayerBlobs) -> list[LazyArray]:
    """A layer's blobs, named `layer/0`, `layer/1`, ...; without those that it lacks."""
    return [
        LazyArray(f"{layer.name}/{index}", blob.shape, blob.view)
        for index, blob in enumerate(layer.blobs)
        if blob is not None
    ]
