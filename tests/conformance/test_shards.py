"""A data.py that reads TFRecord shards gives what Caffe took from the database."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from caffe2k.datasets.conversion import Conversion
from caffe2k.datasets.opening import open_source
from caffe2k.ir.layout import channels_last
from caffe2k.pipeline import Options
from caffe2k.translation import translate
from tests.conformance.emitted import imported
from tests.conformance.suite import cases

DATABASES = (
    "leveldb_raw",
    "lmdb_encoded",
    "lmdb_floats",
    "lmdb_mean_file_crop",
    "lmdb_mean_values_crop",
    "lmdb_raw",
    "lmdb_scale",
)


@pytest.mark.parametrize("folder", cases("data/cases", DATABASES))
def test_batches_are_those_of_caffe(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = folder / "net.prototxt"
    source = next(
        path
        for path in (folder / "../../sources").iterdir()
        if f'/{path.name}"' in net.read_text(encoding="utf-8") and path.is_dir()
    )
    shards = tmp_path / "shards"
    output = shards / source.name
    Conversion(open_source(source), output, "tfrecord", shards=3).run()
    translation = translate(net, options=Options(tfrecord=shards))
    translation.write(tmp_path / "out")
    monkeypatch.setenv("CAFFE_DATA_ROOT", str(folder))
    inputs = translation.net.whole.program.inputs
    with (
        np.load(folder / "batches.npz") as caffe,
        imported(tmp_path / "out", "data") as module,
    ):
        batches = module.test_data()
        for k, (x, *_) in enumerate(itertools.islice(batches, 3)):
            blobs = x if isinstance(x, dict) else {inputs[0].name: x}
            for entry in inputs:
                expected = caffe[f"batch/{k}/{entry.blob}"]
                if expected.ndim == 4:
                    expected = expected.transpose(channels_last(4).perm)
                np.testing.assert_array_equal(blobs[entry.name], expected)
        batches.close()
