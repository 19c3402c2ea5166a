"""What a file of weights is, and all that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from caffe2k.weights.blob import CaffeModel, LayerBlobs
from caffe2k.weights.caffemodel import read_blobproto, read_caffemodel
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.keras_files import is_keras_file, read_keras_file
from caffe2k.weights.solverstate import read_solverstate


@dataclass(frozen=True)
class Contents:
    """A file of weights: what it is called, what it says of itself, and its blobs.

    `kind` is "caffemodel", "solverstate", "binaryproto" or "keras". A solver's history,
    and the one blob of a binaryproto, stand in a layer without a type.
    """

    kind: str
    facts: dict[str, str | int | float]
    layers: tuple[LayerBlobs, ...]


def read_contents(path: Path) -> Contents:
    """The contents of any file of Caffe's or Keras's weights, values not loaded yet.

    Raises WeightsError.
    """
    if is_keras_file(path):
        return Contents("keras", {}, keras_layers(path))
    try:
        model = read_caffemodel(path)
    except WeightsError as error:
        (found,) = error.diagnostics
        if found.code == "file-is-solverstate":
            return _solverstate(path)
        if found.code == "file-is-binaryproto":
            blob = read_blobproto(path)
            return Contents("binaryproto", {}, (LayerBlobs("", "", (blob,)),))
        raise
    facts: dict[str, str | int | float] = {"net": model.name} if model.name else {}
    return Contents("caffemodel", facts, model.layers)


def keras_layers(path: Path) -> tuple[LayerBlobs, ...]:
    """The layers of a Keras file, with the weights that it holds as their blobs."""
    found = read_keras_file(path)
    return tuple(LayerBlobs(name, "", blobs) for name, blobs in found.items())


def keras_model(path: Path) -> CaffeModel:
    """A Keras file as if its layers were Caffe's."""
    return CaffeModel("", keras_layers(path))


def _solverstate(path: Path) -> Contents:
    state = read_solverstate(path)
    facts: dict[str, str | int | float] = {
        "iteration": state.iteration,
        "current step": state.current_step,
    }
    if state.learned_net:
        facts["weights"] = state.learned_net
    if state.minimum_loss is not None:
        facts["minimum loss"] = state.minimum_loss
    if state.iter_last_event is not None:
        facts["last event"] = state.iter_last_event
    return Contents(
        "solverstate", facts, (LayerBlobs("history", "", tuple(state.history)),)
    )
