"""data.py: what it looks like, that it is clean, that it runs, and hostile names."""

import ast
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.codegen.data_script import (
    DatabaseLayer,
    DataFunction,
    DataScript,
    DummyLayer,
    HDF5Layer,
    ImageListLayer,
    Named,
    Transform,
    render,
)

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

LENET = DataScript(
    functions=(
        DataFunction(
            "train_data",
            "TRAIN",
            (
                DatabaseLayer(
                    Named("digits_train_lmdb", "train_val.prototxt:8"),
                    50,
                    ("data", "label"),
                    "LMDB",
                    Transform(scale=0.00390625),
                ),
            ),
            "data",
            "label",
        ),
    ),
    data_root="../digits_lenet",
)

LENET_TEXT = '''\
"""The net's data layers: endless batches of (x, y), in the order that Caffe reads them."""

import os
from pathlib import Path

from caffe_runtime.databases import DataReader
from caffe_runtime.readers import batches, locate
from caffe_runtime.transform import Transformer

HERE = Path(__file__).parent
# Where relative sources are looked up; Caffe does it in the working directory.
DATA_ROOT = Path(os.environ.get("CAFFE_DATA_ROOT", HERE / "../digits_lenet"))

TRAIN_BATCH_SIZE = 50


def train_data():
    """Endless batches of the TRAIN phase."""
    readers = [
        DataReader(
            locate(DATA_ROOT, "digits_train_lmdb", "train_val.prototxt:8"),
            batch_size=TRAIN_BATCH_SIZE,
            tops=["data", "label"],
            backend="LMDB",
            transform=Transformer("TRAIN", scale=0.00390625),
        )
    ]
    return batches(readers, inputs="data", outputs="label")
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


def everything(text="x"):
    """A script with every kind of layer and setting, all strings of which are `text`."""
    named = Named(text, text)
    transform = Transform(0.5, Named(text, text), (), 3, True, True)
    values = Transform(mean_values=(1.0, 2.5), force_gray=True)
    return DataScript(
        functions=(
            DataFunction(
                "train_data",
                "TRAIN",
                (
                    DatabaseLayer(named, 5, (text, text), "LEVELDB", transform),
                    ImageListLayer(
                        named, 4, (text,), values, text, 8, 9, False, True, 10
                    ),
                    HDF5Layer(named, 6, (text,), True),
                    DummyLayer((text,), ((1, 2),), ({"type": text, "std": 0.5},)),
                ),
                {text: text},
                {text: text},
            ),
            DataFunction(
                "test_data", "TEST", (HDF5Layer(named, 6, (text,)),), text, None
            ),
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
        "rng = random_generator(RANDOM_SEED)",
        "RANDOM_SEED = 1701",
        "TEST_BATCH_SIZE = 6",
        'mean=load_mean(HERE / "x", "x")',
        "crop_size=3",
        "mirror=True",
        "force_color=True",
        "force_gray=True",
        "mean_values=(1.0, 2.5)",
        "shuffle=True",
        "new_height=8",
        "new_width=9",
        "is_color=False",
        "rand_skip=10",
        'root_folder="x"',
        'fillers=({"type": "x", "std": 0.5},)',
        'data_format="channels_first"',
    ):
        assert words in text
    # The layers of TRAIN differ in batch size, so that there is no one constant.
    assert "TRAIN_BATCH_SIZE" not in text
    assert text.count("rng = random") == 1


def test_without_a_known_folder_the_working_directory_counts():
    text = formatted(DataScript(LENET.functions))
    assert 'DATA_ROOT = Path(os.environ.get("CAFFE_DATA_ROOT", "."))' in text
    assert "HERE" not in text


def test_without_files_there_is_no_root():
    layer = DummyLayer(("data",), ((1, 2),))
    text = formatted(DataScript((DataFunction("test_data", "TEST", (layer,), "data"),)))
    assert "DATA_ROOT" not in text
    assert "random" not in text


def test_without_a_seed_every_run_differs():
    layer = HDF5Layer(Named("a", "b"), 2, ("data",), shuffle=True)
    script = DataScript((DataFunction("train_data", "TRAIN", (layer,), "data"),))
    assert "rng = random_generator()\n" in formatted(script)


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
    layer = HDF5Layer(Named("list.txt", "net.prototxt:5"), 2, ("data", "label"))
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
