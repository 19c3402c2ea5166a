"""Writes the .h5 that the emitted `train.py --resume` takes beside its own snapshots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from caffe2k.weights.h5 import lay_out_layers
from caffe2k.weights.h5_file import Places, write_h5
from caffe2k.weights.plan import KerasLayer
from caffe2k.weights.whole_file import OnProgress

GROUP = "caffe_state"
"""Beside the layers' groups; runtime/snapshots.py reads it."""


def write_training_state(
    path: Path,
    layers: Sequence[KerasLayer],
    histories: Sequence[Sequence[KerasLayer]],
    place: Mapping[str, Any],
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> None:
    """Writes weights by layer name, and the solver's histories in a group of their own.

    Each of the `histories` has values for the trainable weights; `place` is what
    Place in runtime/snapshots.py holds. The file is also one of weights alone.

    Raises WeightsError if the file exists and not `force`, or if it can't be written.
    """

    def lay_out(file: h5py.File, places: Places) -> None:
        lay_out_layers(file, places, layers)
        state = file.create_group(GROUP)
        state.attrs["place"] = json.dumps(place)
        for slot, history in enumerate(histories):
            for layer in history:
                group = state.create_group(f"{slot}/{layer.name}")
                for weight in layer.weights:
                    places.allocate(group, weight)

    write_h5(path, lay_out, force=force, on_progress=on_progress)
