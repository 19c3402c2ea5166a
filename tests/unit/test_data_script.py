"""data.py: what it looks like, that it is clean, that it runs, and hostile names."""

import ast
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.codegen.data_layers import DataFunction, Named, ReaderLayer, Transform
from caffe2k.codegen.data_script import DataScript, render

PHASES = ("TRAIN", "TEST")
PROJECT = Path(__file__).resolve().parents[2]
HOSTILE = [
    '"); import os #',
    "'); import os #",
    "a\nimport os\n",
    "\\",
    '"""',
    "{{ 7 * 7 }}",
    "{% raw %}",
    "\u202e\u2028\x00\ud800",
    "x" * 10_000,
]

TRANSFORM = Transform({"scale": 0.00390625})
DIGITS = ReaderLayer(
    "databases",
    "DataReader",
    ("data", "label"),
    Named("digits_train_lmdb", "train_val.prototxt:8"),
    50,
    {"backend": "LMDB"},
    TRANSFORM,
)
LENET = DataScript(
    functions=(DataFunction("train_data", "TRAIN", (DIGITS,), "data", "label"),),
    data_root="../digits_lenet",
)

LENET_TEXT = '''\
"""The net's data layers: endless batches of (x, y), in the order that Caffe reads them.

The options of each function are those of Batches, such as shuffle and skip_bad.
"""

import os
from pathlib import Path

from caffe_runtime.databases import DataReader
from caffe_runtime.readers import Batches, locate
from caffe_runtime.transform import Transformer

HERE = Path(__file__).parent
# Where relative sources are looked up; Caffe does it in the working directory.
DATA_ROOT = Path(os.environ.get("CAFFE_DATA_ROOT", HERE / "../digits_lenet"))

TRAIN_BATCH_SIZE = 50


def train_data(batch_size=TRAIN_BATCH_SIZE, **options):
    """Endless batches of the TRAIN phase, a share of them in each process."""
    readers = [
        DataReader(
            locate(DATA_ROOT, "digits_train_lmdb", "train_val.prototxt:8"),
            batch_size=batch_size,
            tops=["data", "label"],
            backend="LMDB",
            transform=Transformer("TRAIN", scale=0.00390625),
        )
    ]
    return Batches(readers, inputs="data", outputs="label", **options)
'''


def formatted(script):
    """data.py as it is emitted, after `ruff check` on it."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data.py")
        data.write_text(render(script), encoding="utf-8")
        for command in ("format", "check"):
            ruff = [sys.executable, "-m", "ruff", command, "--isolated", "data.py"]
            done = subprocess.run(ruff, cwd=folder, capture_output=True, check=False)
            assert done.returncode == 0, done.stdout.decode()
        return data.read_text(encoding="utf-8")


def hdf5(source, batch_size, *tops, **settings):
    return ReaderLayer(
        "hdf5_data",
        "HDF5Reader",
        tops,
        source,
        batch_size,
        settings,
        is_rooted=True,
        draws="shuffle" in settings,
    )


def everything(text="x"):
    """A script with every kind of argument, all strings of which are `text`."""
    named = Named(text, text)
    transform = Transform({"crop_size": 3, "mirror": True}, named, True, True)
    windows = Transform(
        {"crop_mode": text}, None, True, True, "window_data", "Warp", False
    )
    return DataScript(
        functions=(
            DataFunction(
                "train_data",
                "TRAIN",
                (
                    ReaderLayer(
                        "databases",
                        "DataReader",
                        (text, text),
                        named,
                        5,
                        {"backend": text},
                        transform,
                        prefetch=9,
                    ),
                    hdf5(named, 6, text, shuffle=True),
                    ReaderLayer(
                        "window_data",
                        "WindowReader",
                        (text,),
                        named,
                        6,
                        transform=windows,
                        draws=True,
                    ),
                    ReaderLayer("memory_data", "InputReader", (text,), takes="blobs"),
                    ReaderLayer(
                        "dummy_data",
                        "DummyReader",
                        (text,),
                        settings={"fillers": ({"type": text, "std": 0.5},)},
                    ),
                ),
                {text: text},
                {text: text},
            ),
            DataFunction("test_data", "TEST", (hdf5(named, 6, text),), text, None),
        ),
        data_root=text,
        seed=1701,
        data_format="channels_first",
    )


def test_a_plain_project():
    assert formatted(LENET) == LENET_TEXT


def test_all_settings_are_written():
    text = formatted(everything())
    for words in (
        "def train_data(blobs=None, seed=RANDOM_SEED, **options):",
        "def test_data(batch_size=TEST_BATCH_SIZE, **options):",
        "RANDOM_SEED = 1701",
        "TEST_BATCH_SIZE = 6",
        "batch_size=5",
        'mean=load_mean(HERE / "x", "x")',
        'transform=Warp(crop_mode="x")',
        "crop_size=3",
        "mirror=True",
        "shuffle=True",
        'InputReader(blobs, tops=["x"])',
        'fillers=({"type": "x", "std": 0.5},)',
        'data_format="channels_first"',
        "prefetch=9",
        "seed=seed",
        "world=1",
    ):
        assert words in text
    # The layers of TRAIN differ in batch size, so that there is no one constant.
    assert "TRAIN_BATCH_SIZE" not in text
    assert text.count("seed=seed") == 1


def test_without_a_known_folder_the_working_directory_counts():
    text = formatted(DataScript(LENET.functions))
    assert 'DATA_ROOT = Path(os.environ.get("CAFFE_DATA_ROOT", "."))' in text
    assert "HERE" not in text


def test_without_files_there_is_no_root():
    layer = ReaderLayer("dummy_data", "DummyReader", ("data",))
    text = formatted(
        DataScript((DataFunction("test_data", "TEST", (layer,), "data"),), seed=3)
    )
    assert "DATA_ROOT" not in text
    assert "RANDOM_SEED" not in text


def test_a_crop_is_drawn_in_train_alone():
    layers = (replace(DIGITS, transform=Transform({"crop_size": 3}, crops=True)),)
    train, test = (DataFunction("f", phase, layers, "data") for phase in PHASES)
    assert train.draws
    assert not test.draws


def test_without_a_seed_every_run_differs():
    layer = hdf5(Named("a", "b"), 2, "data", shuffle=True)
    script = DataScript((DataFunction("train_data", "TRAIN", (layer,), "data"),))
    assert "seed" not in formatted(script)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_never_become_code(name):
    text = formatted(everything(name))
    tree = ast.parse(text)
    names = [
        n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value == name
    ]
    assert len(names) > 10

    class Renaming(ast.NodeTransformer):
        def visit_Constant(self, node):
            return ast.Constant("x" if node.value == name else node.value)

    plain = ast.parse(formatted(everything()))
    assert ast.dump(Renaming().visit(tree)) == ast.dump(plain)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An emitted project beside its data; gives its data.py, imported."""
    (tmp_path / "net").mkdir()
    with h5py.File(tmp_path / "net" / "a.h5", "w") as file:
        file["data"] = np.arange(24.0).reshape(2, 3, 2, 2)
        file["label"] = [0, 1]
    (tmp_path / "net" / "list.txt").write_text("a.h5\n")
    layer = hdf5(Named("list.txt", "net.prototxt:5"), 2, "data", "label")
    functions = (
        DataFunction("train_data", "TRAIN", (layer,), {"data": "data"}, "label"),
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "data.py").write_text(formatted(DataScript(functions, "../net")))
    runtime = PROJECT / "caffe2k" / "runtime"
    shutil.copytree(runtime, out / "caffe_runtime", ignore=lambda *_: ["__pycache__"])
    monkeypatch.syspath_prepend(str(out))
    monkeypatch.delenv("CAFFE_DATA_ROOT", raising=False)
    yield out / "data.py"
    for name in [n for n in sys.modules if n.startswith("caffe_runtime")]:
        del sys.modules[name]


def imported(path):
    spec = importlib.util.spec_from_file_location("emitted_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_runs_from_any_working_directory(project, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data = imported(project)
    stream = data.train_data()
    x, y = next(stream)
    stream.close()
    assert data.TRAIN_BATCH_SIZE == 2
    assert x["data"].shape == (2, 2, 2, 3)
    assert x["data"][0, 0, 0].tolist() == [0, 4, 8]
    assert y.tolist() == [0, 1]


def test_data_elsewhere(project, monkeypatch, tmp_path):
    (tmp_path / "net").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("CAFFE_DATA_ROOT", str(tmp_path / "elsewhere"))
    stream = imported(project).train_data()
    next(stream)
    stream.close()


def test_missing_data_is_named_before_the_first_batch(project):
    (project.parent.parent / "net" / "list.txt").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        imported(project).train_data()
    message = str(caught.value)
    assert "'list.txt', named in net.prototxt:5, is not at " in message
    assert str(project.parent.parent / "net" / "list.txt") in message
    assert "CAFFE_DATA_ROOT" in message
