"""Runs an emitted model in a process of its own: Keras is never imported here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2k.codegen.predict_script import blobs_script
from caffe2k.prediction import blob_calls
from caffe2k.resources import template
from caffe2k.translation import Translation
from caffe2k.weights.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SCRIPT = "verify_blobs.py"


def keras_blobs(
    translation: Translation, inputs: Mapping[str, NDArray[Any]], folder: Path
) -> dict[str, NDArray[Any]]:
    """Every blob that the emitted model computes, in Caffe's axis order and net's order.

    `inputs` are the model's inputs by blob, in Caffe's order; `folder` is where the
    project is written and run. Raises WeightsError where the model does not run.
    """
    import numpy as np

    whole = translation.net.whole
    blobs = blob_calls(translation.net)
    scripts = {"blobs.py": blobs_script("the net", blobs), _SCRIPT: template(_SCRIPT)}
    replace(translation, scripts=translation.scripts | scripts).write(folder)
    entering: dict[str, Any] = {}
    for entry in whole.program.inputs:
        array = inputs[entry.blob]
        perm = whole.form.boundary(array.ndim).perm
        entering[entry.name] = np.ascontiguousarray(array.transpose(perm))
    np.savez(folder / "inputs.npz", **entering)
    request = {
        "weights": translation.weights_file,
        "inputs": "inputs.npz",
        "output": "blobs.npz",
        # TensorFlow's own kernels on a CPU know channels_last alone; XLA's know both.
        "jit_compile": not whole.form.is_channels_last,
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    _run(folder)
    with np.load(folder / "blobs.npz") as values:
        return {name: values[str(i)] for i, name in enumerate(blobs)}


def _run(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, _SCRIPT, "request.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raised = re.findall(
            r"^[\w.]*(?:Error|Exception): .+", done.stderr, re.MULTILINE
        )
        raise WeightsError(
            "model-failed",
            f"the emitted model did not run: {(raised or ['it gave no reason'])[-1]}",
            help="it needs keras with a backend: pip install 'caffe2k[tensorflow]'",
        )
