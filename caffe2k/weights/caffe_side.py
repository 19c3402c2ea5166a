"""A CaffeModel as its net wants it: shapes, shared blobs, and the order of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import partial

from caffe2k.schema.message import Message
from caffe2k.weights.blob import Blob, CaffeModel, LayerBlobs, Shape
from caffe2k.weights.plan import LazyArray, PlannedBlob, WeightPlan

_RANKS = {
    "Convolution": (4, 1),
    "ConvolutionDepthwise": (4, 1),
    "Deconvolution": (4, 1),
    "DepthwiseConvolution": (4, 1),
    "Embed": (2, 1),
    "InnerProduct": (2, 1),
}
"""How many axes a layer's blobs have; those of others have one."""


def todays_shape(kind: str, index: int, blob: Blob) -> Shape:
    """The shape of the parameter that a blob is, which an old file pads to four axes.

    `kind` is the type of its layer.
    """
    ranks = _RANKS.get(kind, (1,))
    padding = len(blob.shape) - ranks[min(index, len(ranks) - 1)]
    is_padded = blob.legacy and blob.shape[:padding] == (1,) * padding
    return blob.shape[padding:] if is_padded else blob.shape


def in_todays_shapes(model: CaffeModel) -> CaffeModel:
    """The model with the shapes that its layers' types have in today's Caffe."""

    def shaped(layer: LayerBlobs) -> tuple[Blob | None, ...]:
        return tuple(
            blob and _shaped(blob, todays_shape(layer.type, index, blob))
            for index, blob in enumerate(layer.blobs)
        )

    layers = (dataclasses.replace(la, blobs=shaped(la)) for la in model.layers)
    return dataclasses.replace(model, layers=tuple(layers))


def _shaped(blob: Blob, shape: Shape) -> Blob:
    return dataclasses.replace(blob, shape=shape, legacy=False)


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
        return _shaped(blob, shape)

    layers = (
        dataclasses.replace(
            layer, blobs=tuple(shaped(layer, i, b) for i, b in enumerate(layer.blobs))
        )
        for layer in model.layers
    )
    return dataclasses.replace(model, layers=tuple(layers))


def with_shared(model: CaffeModel, layers: Iterable[Message]) -> CaffeModel:
    """The model with the shared blobs that HDF5 files leave out, as their owners have them.

    `layers` are the net's, whose `param { name }` say what is shared. One that may have
    another shape than its owner's is left out still (net.cpp, Net::AppendParam and
    Net::ToHDF5).
    """
    found = {layer.name: list(layer.blobs) for layer in model.layers}
    owned: dict[str, Blob] = {}
    for layer in layers:
        blobs = found.get(layer.name, [])
        for index, param in enumerate(layer.param):
            blob = blobs[index] if index < len(blobs) else None
            if blob is not None and param.name:
                owned.setdefault(param.name, blob)
            elif param.name in owned and param.share_mode == "STRICT":
                blobs += [None] * (index + 1 - len(blobs))
                blobs[index] = owned[param.name]
    whole = (
        dataclasses.replace(la, blobs=tuple(found[la.name])) for la in model.layers
    )
    return dataclasses.replace(model, layers=tuple(whole))


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
        LazyArray(
            f"{layer.name}/{index}",
            blob.shape,
            partial(blob.view, f"blob {index} of layer `{layer.name}`"),
        )
        for index, blob in enumerate(layer.blobs)
        if blob is not None
    ]
