"""Writes Keras weights: by layer name (.h5), and as Keras 3 saves them (.weights.h5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from caffe2k.weights.errors import WeightsError
from caffe2k.weights.h5_file import Places, write_h5
from caffe2k.weights.plan import KerasLayer
from caffe2k.weights.whole_file import OnProgress

_ATTRIBUTE_BYTES = 64512


def write_legacy_h5(
    path: Path,
    layers: Sequence[KerasLayer],
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> None:
    """Writes the layout that `load_weights(by_name=True)` reads: a group for each layer.

    Its weights are data sets in Keras's order. The file appears whole or not at all.
    Weights are loaded one at a time and copied in slabs, so that a transposed kernel is
    never in memory as a whole.

    Raises WeightsError if the file exists and not `force`, if Keras could not load a
    file of this name, or if it can't be written.
    """
    if path.suffix not in (".h5", ".hdf5") or path.name.endswith(".weights.h5"):
        raise WeightsError(
            "output-name",
            f"Keras loads no weights by layer name from a file called `{path.name}`",
            help="call it .h5, but not .weights.h5",
        )

    def lay_out(file: h5py.File, places: Places) -> None:
        lay_out_layers(file, places, layers)

    write_h5(path, lay_out, force=force, on_progress=on_progress)


def lay_out_layers(
    file: h5py.File, places: Places, layers: Sequence[KerasLayer]
) -> None:
    """Makes the groups and data sets that `load_weights(by_name=True)` reads."""
    # A file without a version is taken for Keras 1, with kernels in another order.
    file.attrs["keras_version"] = b"3.0.0"
    _write_names(file, "layer_names", [layer.name for layer in layers])
    for layer in layers:
        group = file.create_group(layer.name)
        _write_names(group, "weight_names", [w.name for w in layer.weights])
        for weight in layer.weights:
            places.allocate(group, weight)


def write_keras_weights(
    path: Path,
    layers: Sequence[KerasLayer],
    groups: Mapping[str, str],
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> None:
    """Writes the layout of `model.save_weights("x.weights.h5")`.

    `groups` are the places of the model's layers in such a file, by their names.

    Raises WeightsError as `write_legacy_h5` does.
    """
    if not path.name.endswith(".weights.h5"):
        raise WeightsError(
            "output-name",
            f"Keras loads no weights from a file called `{path.name}`",
            help="call it .weights.h5",
        )

    def lay_out(file: h5py.File, places: Places) -> None:
        for layer in layers:
            group = file.create_group(f"{groups[layer.name]}/vars")
            group.attrs["name"] = layer.name
            for index, weight in enumerate(layer.weights):
                places.allocate(group, weight.renamed(str(index)))

    write_h5(path, lay_out, force=force, on_progress=on_progress)


def _write_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """Writes names as an attribute; as attribute0, attribute1, ... if they are long."""
    array = np.array([name.encode() for name in names], dtype=np.bytes_)
    if array.nbytes <= _ATTRIBUTE_BYTES:
        group.attrs[attribute] = array
        return
    size = max(1, _ATTRIBUTE_BYTES // array.itemsize)
    for number, start in enumerate(range(0, len(array), size)):
        group.attrs[f"{attribute}{number}"] = array[start : start + size]
