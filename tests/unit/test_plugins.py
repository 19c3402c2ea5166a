"""Plug-ins: the worked example of docs/plugins.md, and what goes wrong in them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from caffe2k.cli import main
from caffe2k.ops import find_op, plugins, registry
from caffe2k.schema import caffe_pb2
from caffe2k.schema.custom import layer_param
from caffe2k.schema.message import message_type
from tests.plugins import forgotten

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs/plugins.md").read_text(encoding="utf-8")

FILES = dict(
    re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
)
SESSIONS = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

NOT_OF_CAFFE = """
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
layer {{ name: "own" type: "Own" bottom: "data" top: "own" {more} }}
"""


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    with forgotten():
        yield


def put(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def commands(session: str) -> list[tuple[str, str]]:
    """The commands of a session, each with what the page says that it prints."""
    parts = re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    return [(first, rest) for first, _, rest in (p.partition("\n") for p in parts)]


def caffe2k(command: str) -> Result:
    return CliRunner().invoke(main, shlex.split(command)[1:], catch_exceptions=False)


def caffemodel(path: Path) -> None:
    net = caffe_pb2.NetParameter(name="GainNet")
    layer = net.layer.add(name="gain", type="Gain")
    layer.blobs.add(data=[1.0, 2.0, 3.0]).shape.dim.append(3)
    path.write_bytes(net.SerializeToString())


def test_the_page_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, **FILES)
    caffemodel(tmp_path / "net.caffemodel")
    monkeypatch.chdir(tmp_path)
    for command, printed in commands(SESSIONS[0]):
        result = caffe2k(command)
        assert result.exit_code == 0, result.output
        assert result.stdout == printed
    copied = tmp_path / "keras/caffe_runtime/gain.py"
    assert copied.read_text(encoding="utf-8") == FILES["caffe_runtime/gain.py"]
    with_weights = pytest.importorskip("h5py").File(tmp_path / "net.h5")
    with with_weights as file:
        (name,) = file["gain"].attrs["weight_names"]
        assert file["gain"][name][:].tolist() == [1.0, 2.0, 3.0]


def test_an_installed_package_needs_no_option(tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    declared = re.search(
        r"\[project\.(entry.*?)\n\n", FILES["pyproject.toml"] + "\n", re.DOTALL
    )
    assert declared is not None
    put(
        site,
        **{
            "caffe2k_gain-1.0.dist-info/METADATA": "Name: caffe2k-gain\nVersion: 1.0\n",
            "caffe2k_gain-1.0.dist-info/entry_points.txt": "[caffe2k.ops]\n"
            + declared[1].partition("\n")[2].replace('"', ""),
            "caffe2k_gain/__init__.py": FILES["my_ops.py"],
            "caffe2k_gain/caffe_runtime/gain.py": FILES["caffe_runtime/gain.py"],
        },
    )
    put(work, **{"net.prototxt": FILES["net.prototxt"]})
    ((command, _),) = commands(SESSIONS[1])
    search = os.pathsep.join((str(site), str(REPOSITORY)))
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=work,
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (work / "keras/caffe_runtime/gain.py").is_file()


def plugin(folder: Path, body: str, more: str = "") -> Result:
    """What comes of a net with the type Own, and a plug-in of these lines."""
    head = "from caffe2k.plugin import *\n"
    put(
        folder,
        **{"ops.py": head + body, "net.prototxt": NOT_OF_CAFFE.format(more=more)},
    )
    return caffe2k(
        f"caffe2k translate {folder / 'net.prototxt'} --ops {folder / 'ops.py'}"
    )


OP = """
@layer_op("Own")
class Own(ElementwiseOp):
    def lower(self, k):
        k.output(k.add(keras_layer("Identity")))
"""


def test_an_op_of_ones_own(tmp_path: Path) -> None:
    result = plugin(tmp_path, OP)
    assert 'layers.Identity(name="own")' in result.stdout


def test_a_built_in_op_is_replaced(tmp_path: Path) -> None:
    built_in = find_op("ReLU")
    put(
        tmp_path,
        **{"ops.py": "from caffe2k.plugin import *\n" + OP.replace("Own", "ReLU")},
    )
    plugins.load_ops(tmp_path / "ops.py")
    replaced = find_op("ReLU")
    assert replaced is not built_in
    assert replaced is registry.registered_ops()["ReLU"]


def test_the_last_plugin_wins(tmp_path: Path) -> None:
    for name in ("one", "two"):
        put(
            tmp_path,
            **{f"{name}.py": f"from caffe2k.plugin import *\n{OP}\nWHO = '{name}'"},
        )
        plugins.load_ops(tmp_path / f"{name}.py")
    op = find_op("Own")
    assert op is not None
    assert sys.modules[op.__module__].WHO == "two"


def test_a_python_layer_is_known_by_module_and_layer(tmp_path: Path) -> None:
    put(
        tmp_path,
        **{
            "ops.py": "from caffe2k.plugin import *\n" + OP.replace('"Own"', '"a.b.C"'),
            "net.prototxt": NOT_OF_CAFFE.format(
                more='python_param { module: "a.b" layer: "C" }'
            ).replace('"Own"', '"Python"'),
        },
    )
    files = f"{tmp_path / 'net.prototxt'} --ops {tmp_path / 'ops.py'}"
    assert 'layers.Identity(name="own")' in caffe2k(f"caffe2k translate {files}").stdout


def test_a_field_that_the_op_does_not_read_is_reported(tmp_path: Path) -> None:
    body = 'layer_param("own_param", limit=1.0)\n' + OP
    result = plugin(tmp_path, body, more="own_param { limit: 2 }")
    assert (
        "error[unsupported-option]: `own_param` of layer `own` (Own)" in result.stderr
    )


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("x = = 1", "x = = 1", "the plug-in raises SyntaxError: invalid syntax"),
        ("import nowhere_at_all", "import nowhere", "ModuleNotFoundError: No module"),
        (OP + OP, '@layer_op("Own")', "ValueError: layer type Own is registered twice"),
        (
            OP.replace("k.add(", "k.subtract("),
            "k.output(k.subtract",
            "AttributeError: 'Lowering' object has no attribute 'subtract'",
        ),
        (
            'layer_param("own_param", limit=None)',
            "layer_param(",
            "ValueError: `limit` is declared by None",
        ),
    ],
)
def test_a_mistake_in_a_plugin_is_shown(
    tmp_path: Path, body: str, line: str, message: str
) -> None:
    result = plugin(tmp_path, body)
    assert result.exit_code == 1
    assert message in result.stderr
    assert f"| {line}" in re.sub(r"\| +", "| ", result.stderr)


def test_a_runtime_module_must_be_there(tmp_path: Path) -> None:
    body = OP.replace('keras_layer("Identity")', 'runtime("nowhere", "Own")')
    plugin(tmp_path, body)
    files = f"{tmp_path / 'net.prototxt'} --ops {tmp_path / 'ops.py'}"
    result = caffe2k(f"caffe2k translate {files} -o {tmp_path / 'out'}")
    assert (
        "error[plugin-runtime]: there is no runtime module `nowhere`" in result.stderr
    )
    assert not (tmp_path / "out").exists()


def test_a_runtime_module_has_a_name_of_its_own(tmp_path: Path) -> None:
    put(tmp_path, **{"caffe_runtime/losses.py": ""})
    result = plugin(tmp_path, OP)
    assert "has a runtime module `losses`, as caffe2k has" in result.stderr


def test_a_missing_plugin(tmp_path: Path) -> None:
    result = caffe2k(f"caffe2k layers --ops {tmp_path / 'no.py'}")
    assert "error[plugin-missing]" in result.stderr


def test_layers_lists_ops_of_plugins(tmp_path: Path) -> None:
    put(tmp_path, **{"ops.py": FILES["my_ops.py"]})
    result = caffe2k(f"caffe2k layers --ops {tmp_path / 'ops.py'}")
    assert re.search(r"^Gain +caffe_runtime\.gain\.Gain$", result.stdout, re.MULTILINE)


def test_parameters_are_declared_by_what_they_hold() -> None:
    layer_param("own_param", a=0.5, b=int, c=[str], d=("X", "Y"), e={"f": True})
    own = message_type("LayerParameter").fields["own_param"].message
    assert own is not None
    kinds = {name: (f.kind, f.repeated, f.default) for name, f in own.fields.items()}
    assert kinds == {
        "a": ("float", False, 0.5),
        "b": ("int", False, 0),
        "c": ("string", True, None),
        "d": ("enum", False, "X"),
        "e": ("message", False, None),
    }
    layer_param("own_param", a=2.0, g=1.0)
    assert own.fields["a"].default == 0.5
    assert own.fields["g"].default == 1.0
    with pytest.raises(ValueError, match="no message"):
        layer_param("name", a=1)
