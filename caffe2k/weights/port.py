"""Brings the blobs of a Caffe model into Keras's weights by a plan, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from caffe2k.weights import transforms
from caffe2k.weights.blob import (
    AnyArray,
    Blob,
    CaffeModel,
    FloatArray,
    LayerBlobs,
    Shape,
)
from caffe2k.weights.coverage import CoverageReport, LayerCoverage, Mismatch
from caffe2k.weights.plan import (
    KerasLayer,
    LazyArray,
    PlannedBlob,
    PlannedLayer,
    PlannedWeight,
    WeightPlan,
)


def port(
    model: CaffeModel, plan: WeightPlan, *, allow_partial: bool = False
) -> tuple[tuple[KerasLayer, ...], CoverageReport]:
    """The Keras layers that the file covers, not loaded yet, and the coverage report.

    Layers are matched by name, each blob by its index and shape. Where layers share a
    blob, the last one in the file counts, as in Caffe.

    Raises TranslationError if a layer doesn't fit, or, without `allow_partial`, if the
    net or the file has one that the other lacks (net.cpp, Net::CopyTrainedLayersFrom).
    """
    layers, report = match(model, plan)
    report.require(allow_partial=allow_partial)
    return layers, report


def match(
    model: CaffeModel, plan: WeightPlan
) -> tuple[tuple[KerasLayer, ...], CoverageReport]:
    """What `port` gives, also where layers don't fit: those are left out."""
    matching = _Matching(plan)
    for layer in model.layers:
        matching.add(layer)
    return matching.keras_layers(), matching.report()


def to_caffe(
    plan: WeightPlan, arrays: Mapping[str, Sequence[FloatArray]]
) -> dict[tuple[str, int], FloatArray]:
    """Keras arrays (weights or their gradients) by Caffe layer and blob index.

    `arrays` holds, by Keras layer name, one array for each weight in the plan's order. A
    shared blob stands under each layer that shares it, in that layer's shape.
    """
    blobs: dict[tuple[str, int], FloatArray] = {}
    for layer in plan.layers:
        given = arrays[layer.keras_name]
        for weight, array in zip(layer.weights, given, strict=True):
            steps = transforms.invert(weight.steps, weight.caffe_shape)
            caffe = transforms.apply(steps, array)
            for blob in weight.blobs:
                key = (blob.caffe_layer, blob.blob_index)
                blobs[key] = caffe.reshape(blob.caffe_shape)
    return blobs


@dataclass(frozen=True)
class _Place:
    """Where a blob of the file belongs."""

    layer: PlannedLayer
    weight: PlannedWeight
    blob: PlannedBlob


class _Matching:
    """The layers of a file, put in their places one by one."""

    def __init__(self, plan: WeightPlan) -> None:
        self._plan = plan
        self._places: dict[str, dict[int, list[_Place]]] = {}
        for layer, weight in plan.weights():
            for blob in weight.blobs:
                places = self._places.setdefault(blob.caffe_layer, {})
                place = _Place(layer, weight, blob)
                places.setdefault(blob.blob_index, []).append(place)
        self._sources: dict[tuple[str, str], Blob] = {}
        self._fitting: dict[str, LayerBlobs] = {}
        self._misfits: dict[str, str] = {}
        self._unused: list[LayerCoverage] = []

    def add(self, layer: LayerBlobs) -> None:
        """Puts the blobs of a layer in their places, or notes why it has none."""
        places = self._places.get(layer.name)
        if places is None:
            if layer.blobs:
                self._unused.append(LayerCoverage(layer.name, "", _shapes(layer)))
            return
        reason = _misfit(layer, places)
        if reason is not None:
            self._misfits[layer.name] = reason
            return
        self._fitting[layer.name] = layer
        for index, here in places.items():
            blob = _blob_at(layer, index)
            if blob is not None:
                for place in here:
                    self._sources[_key(place.layer, place.weight)] = blob

    def report(self) -> CoverageReport:
        """What became of all layers that were added, and of the plan's others."""
        misfits = {**self._halves(), **self._misfits}
        return CoverageReport(
            ported=tuple(
                LayerCoverage(name, self._keras_name(name), _shapes(layer))
                for name, layer in self._fitting.items()
                if name not in misfits
            ),
            missing=tuple(
                LayerCoverage(name, self._keras_name(name), shapes)
                for name, shapes in self._missing().items()
            ),
            unused=tuple(self._unused),
            mismatched=tuple(
                Mismatch(name, self._keras_name(name), reason)
                for name, reason in misfits.items()
            ),
        )

    def keras_layers(self) -> tuple[KerasLayer, ...]:
        """The layers whose weights were all found."""
        return tuple(
            KerasLayer(
                layer.keras_name,
                tuple(self._keras_weight(layer, weight) for weight in layer.weights),
            )
            for layer in self._plan.layers
            if not self._lacking(layer)
        )

    def _keras_weight(self, layer: PlannedLayer, weight: PlannedWeight) -> LazyArray:
        load = partial(_load, self._sources[_key(layer, weight)], weight)
        return LazyArray(weight.name, weight.keras_shape, load)

    def _keras_name(self, caffe_layer: str) -> str:
        first = next(iter(self._places[caffe_layer].values()))
        return first[0].layer.keras_name

    def _lacking(self, layer: PlannedLayer) -> list[PlannedWeight]:
        return [w for w in layer.weights if _key(layer, w) not in self._sources]

    def _missing(self) -> dict[str, tuple[Shape, ...]]:
        """The net's layers, with their shapes, of which the file has no trace."""
        missing: dict[str, tuple[Shape, ...]] = {}
        for layer in self._plan.layers:
            for weight in self._lacking(layer):
                if all(blob.caffe_layer not in self._misfits for blob in weight.blobs):
                    others = missing.get(weight.caffe_layer, ())
                    missing[weight.caffe_layer] = (*others, weight.caffe_shape)
        return missing

    def _halves(self) -> dict[str, str]:
        """Layers that fit, but not alone: Keras loads all of a layer or nothing."""
        halves: dict[str, str] = {}
        for layer in self._plan.layers:
            lacking = self._lacking(layer)
            if lacking and len(lacking) < len(layer.weights):
                for weight in layer.weights:
                    if weight not in lacking:
                        halves[weight.caffe_layer] = (
                            f"Keras layer `{layer.keras_name}` holds it together with "
                            f"`{lacking[0].caffe_layer}`, which can't be ported"
                        )
        return halves


def _key(layer: PlannedLayer, weight: PlannedWeight) -> tuple[str, str]:
    return layer.keras_name, weight.name


def _blob_at(layer: LayerBlobs, index: int) -> Blob | None:
    return layer.blobs[index] if index < len(layer.blobs) else None


def _shapes(layer: LayerBlobs) -> tuple[Shape, ...]:
    return tuple(blob.shape for blob in layer.blobs if blob is not None)


def _misfit(layer: LayerBlobs, places: Mapping[int, Sequence[_Place]]) -> str | None:
    """Why a layer of the file doesn't fit its namesake in the net, if it doesn't."""
    if any(index not in places for index in range(len(layer.blobs))) or any(
        _blob_at(layer, index) is None and not _is_shared(here)
        for index, here in places.items()
    ):
        return f"the file has {len(_shapes(layer))} blobs, the net {len(places)}"
    for index, here in places.items():
        blob = _blob_at(layer, index)
        if blob is None:
            continue
        for place in here:
            if not blob.has_shape(place.blob.caffe_shape):
                return (
                    f"blob {index} is {blob.shape} in the file, "
                    f"{place.blob.caffe_shape} in the net"
                )
        if blob.stored != blob.count:
            return f"blob {index} of shape {blob.shape} has {blob.stored} values"
    return None


def _is_shared(here: Sequence[_Place]) -> bool:
    """Whether a blob belongs to another layer, so that a file may leave it out."""
    return all(place.blob in place.weight.aliases for place in here)


def _load(blob: Blob, weight: PlannedWeight) -> AnyArray:
    """The weight's values in C order, its last reshape left out: numpy would copy."""
    steps = weight.steps
    while steps and isinstance(steps[-1], transforms.Reshape):
        steps = steps[:-1]
    return transforms.apply(steps, blob.view().reshape(weight.caffe_shape))
