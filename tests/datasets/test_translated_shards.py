"""data.py with --tfrecord: what it reads, and from where."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from caffe2k.cli import main
from caffe2k.diagnostics import TranslationError
from caffe2k.pipeline import Options
from caffe2k.translation import translate
from tests.datasets.making import numbered, picture, raw, write_lmdb

SHARDS = Options(tfrecord=Path("shards"))

NET = """
layer { name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "db/train_lmdb" backend: LMDB batch_size: 5 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "db").mkdir()
    write_lmdb(tmp_path / "db/train_lmdb", numbered([raw(picture(0, 1, 2, 2), 1)] * 3))
    (tmp_path / "net.prototxt").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_folder_is_named_from_the_root_of_the_data(project: Path) -> None:
    script = translate(Path("net.prototxt"), options=SHARDS).scripts["data.py"]
    assert "from caffe_runtime.tfrecord_data import TFRecordReader" in script
    assert "'shards/train_lmdb'" in script
    assert "DataReader" not in script
    assert "LMDB" not in script


def test_a_net_without_databases(project: Path) -> None:
    text = NET.replace('"Data"', '"HDF5Data"').replace("data_param", "hdf5_data_param")
    (project / "net.prototxt").write_text(text.replace("backend: LMDB", ""))
    with pytest.raises(TranslationError, match="no-database"):
        translate(
            Path("net.prototxt"),
            options=replace(SHARDS, input_shapes={"data": (5, 1, 2, 2)}),
        )


def test_the_shape_stands_in_the_shards(project: Path) -> None:
    args = ["db/train_lmdb", "shards/train_lmdb", "--to", "tfrecord"]
    assert CliRunner().invoke(main, ["data", "convert", *args]).exit_code == 0
    shutil.rmtree(project / "db")
    translation = translate(Path("net.prototxt"), options=SHARDS)
    assert translation.net.whole.program.inputs[0].shape == (5, 2, 2, 1)
    assert translation.warnings == ()


def test_it_is_about_the_output(project: Path) -> None:
    args = ["translate", "net.prototxt", "--tfrecord", "shards"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert "--tfrecord is about data.py" in result.stderr
