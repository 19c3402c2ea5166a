"""Accuracies that no log has, for nets without an Accuracy layer, measured as
samples/README.md says it was done for Caffe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tests.conformance.emitted import as_array, imported

_FIGURE = re.compile(r"^\| (\w+) \|.*\*accuracy ([\d.]+)\* \|$", re.MULTILINE)


def caffes_accuracies(readme: Path) -> dict[str, float]:
    """The figures in italics of samples/README.md, by sample."""
    found = _FIGURE.findall(readme.read_text(encoding="utf-8"))
    return {sample: float(figure) for sample, figure in found}


def last_snapshot(folder: Path, suffix: str) -> Path:
    """The file PREFIX_iter_N of the greatest N."""
    files = folder.glob(f"*_iter_*.{suffix}")
    return max(files, key=lambda file: int(file.stem.rpartition("_")[2]))


def accuracy(folder: Path, weights: Path, data: Path) -> float:
    """The share of a test's samples that an emitted model decides as their labels do.

    `weights` are what train.py takes, `data` is the folder of the data's sources. To four
    digits, as samples/README.md has it.
    """
    with (
        patch.dict(os.environ, CAFFE_DATA_ROOT=str(data)),
        imported(folder, "train") as train,
    ):
        model = train.build_model()
        train.load_caffe_weights(model, weights)
        batches = islice(train.test_data(), train.TEST_ITER)
        right = [_right(_loss_bottoms(model, *batch)) for batch in batches]
    return round(float(np.concatenate(right).mean()), 4)


def _loss_bottoms(model: Any, x: object, y: Any = None) -> Sequence[object]:
    """What the layer "loss" reads, be it one of the model's or left to compile()."""
    import keras

    if y is None:
        before = keras.Model(model.inputs, model.get_layer("loss").input)
        return before(x, training=False)  # type: ignore[no-any-return]
    output = model(x, training=False)
    return (output["main"], y["main"]) if isinstance(y, dict) else (output, y)


def _right(bottoms: Sequence[object]) -> np.ndarray:
    """For each sample, whether the sign of a logit or a pair's distance is right."""
    *decisive, label = map(as_array, bottoms)
    if len(decisive) == 2:
        decided = np.linalg.norm(decisive[0] - decisive[1], axis=1) < 0.5
    else:
        decided = decisive[0].ravel() > 0
    return decided == (label.ravel() == 1)
