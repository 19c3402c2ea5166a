"""Weights by layer name, as `caffe train --weights` copies them."""

import dataclasses
import os

import h5py
import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class CopiedLayers:
    """What became of each layer; printing it shows a table."""

    loaded: tuple
    kept: tuple
    skipped: tuple

    def __str__(self):
        rows = [
            ("loaded", self.loaded),
            ("kept (not in the file)", self.kept),
            ("skipped (not in the net)", self.skipped),
        ]
        return "\n".join(f"{what:<26}{', '.join(names) or '-'}" for what, names in rows)


def named_files(weights):
    """The files that a list names, each entry one or, as Caffe takes them, "a,b"."""
    return [
        name.strip()
        for entry in weights
        for name in ([str(entry)] if os.path.exists(entry) else str(entry).split(","))
    ]


def load_caffe_weights(model, path):
    """Loads the layers of `path` that `model` has, by name; returns CopiedLayers.

    `path` is an .h5 file with a group for each layer, or a .keras snapshot. Layers of
    the model that the file lacks keep their values, layers of the file that the model
    lacks are skipped (Net::CopyTrainedLayersFrom in net.cpp). Raises FileNotFoundError
    where there is no such file, and ValueError, before anything is changed, where a layer
    of one name has other weights.
    """
    stored = dict(_read_weights(path))
    layers = {layer.name: layer for layer in model.layers if _weights(layer)}
    shared = [name for name in layers if name in stored]
    for name in shared:
        _check_shapes(
            name, [v.shape for v in _weights(layers[name])], stored[name], path
        )
    for name in shared:
        for variable, value in zip(_weights(layers[name]), stored[name], strict=True):
            variable.assign(value)
    return CopiedLayers(
        loaded=tuple(shared),
        kept=tuple(name for name in layers if name not in stored),
        skipped=tuple(name for name in stored if name not in layers),
    )


def share_weights(model, trained):
    """Gives the layers of `model` the weights that layers of `trained` have by that name.

    Raises ValueError where their shapes differ (Net::ShareTrainedLayersWith in net.cpp).
    """
    sources = {layer.name: _weights(layer) for layer in trained.layers}
    for layer in model.layers:
        weights, others = _weights(layer), sources.get(layer.name, [])
        if not weights or layer.name not in sources:
            continue
        if [w.shape for w in weights] != [w.shape for w in others]:
            raise ValueError(f"layer {layer.name!r} has other weights in the test net")
        for variable, source in zip(weights, others, strict=True):
            variable.assign(source)


def _weights(layer):
    return layer.trainable_weights + layer.non_trainable_weights


def _check_shapes(name, expected, values, path):
    found = [tuple(value.shape) for value in values]
    expected = [tuple(shape) for shape in expected]
    if found != expected:
        raise ValueError(
            f"layer {name!r} has weights of the shapes {expected}, but in {path} they "
            f"are {found}; to learn them from scratch, rename the layer"
        )


def _read_weights(path):
    """Each layer's name and weights, in the order of `layer.weights`."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    if str(path).endswith(".keras"):
        for layer in keras.saving.load_model(path, compile=False).layers:
            if _weights(layer):
                yield (
                    layer.name,
                    [keras.ops.convert_to_numpy(v) for v in _weights(layer)],
                )
        return
    if not h5py.is_hdf5(path):
        raise ValueError(
            f"{path} is not an HDF5 file; `caffe2k weights` makes one of a .caffemodel"
        )
    with h5py.File(path, "r") as file:
        layer_names = _names(file, "layer_names")
        if not layer_names:
            hint = "; `caffe2k weights` ports Caffe's files" if "data" in file else ""
            raise ValueError(f"{path} does not hold weights by layer name{hint}")
        for layer in layer_names:
            weights = _names(file[layer], "weight_names")
            if weights:
                yield layer, [np.asarray(file[layer][weight]) for weight in weights]


def _names(group, attribute):
    """A list of names in an attribute, or in the numbered parts of a long one."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        numbered = (f"{attribute}{i}" for i in range(len(group.attrs)))
        parts = [group.attrs[name] for name in numbered if name in group.attrs]
    names = [name for part in parts for name in part]
    return [name.decode() if isinstance(name, bytes) else name for name in names]
