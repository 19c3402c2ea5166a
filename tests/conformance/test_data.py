"""Data layers: the first batches of the emitted data.py are Caffe's, to the bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from caffe2k.ir.layout import channels_last
from caffe2k.translation import translate
from tests.conformance.emitted import imported
from tests.conformance.suite import cases

RESIZED_GREY_LEVELS = 1
BATCHES = 3


@pytest.mark.parametrize("folder", cases("data/cases"))
def test_batches(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = folder / "net.prototxt"
    resized = "new_height" in net.read_text(encoding="utf-8")
    with np.load(folder / "batches.npz") as npz:
        caffe = dict(npz)
    translation = translate(net)
    translation.write(tmp_path / "out")
    monkeypatch.setenv("CAFFE_DATA_ROOT", str(folder))
    inputs = translation.net.whole.program.inputs
    with imported(tmp_path / "out", "data") as module:
        batches = module.test_data()
        for k, (x, *_) in enumerate(itertools.islice(batches, BATCHES)):
            blobs = x if isinstance(x, dict) else {inputs[0].name: x}
            for entry in inputs:
                found, expected = blobs[entry.name], caffe[f"batch/{k}/{entry.blob}"]
                if expected.ndim in (4, 5):
                    expected = expected.transpose(channels_last(expected.ndim).perm)
                assert found.shape == expected.shape
                difference = np.abs(found - expected).max()
                assert difference <= (RESIZED_GREY_LEVELS if resized else 0)
        batches.close()
    assert len(inputs) * BATCHES == len(caffe)
