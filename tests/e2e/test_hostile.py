"""Names, paths and comments from a prototxt never become code, nor markup."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruff.__main__ import find_ruff_bin

from caffe2k.codegen.formatting import format_files
from caffe2k.diagnostics import TranslationError
from caffe2k.pipeline import Options
from caffe2k.schema.caffe_pb2 import BlobProto, LayerParameter, NetParameter
from caffe2k.translation import Translation, translate

HOSTILE = {
    "call": '"); import os #',
    "dunder": "__class__",
    "slash": "1x1/3",
    "quotes": "'''",
    "docstring": '"""\nimport os\n"""',
    "backslash": "\\",
    "end of a string": "\\'; import os; '",
    "newlines": "a\nimport os\r\nimport sys\u2028import re",
    "nul": "a\0b",
    "control characters": "\x1b[31m\x07\x7f\x85",
    "no UTF-8": "\udc80\udcff",
    "right to left": "\u202eso tropmi\u202c",
    "long": "n" * 10_000,
    "long and wild": "\"'\\\n" * 2_500,
    "template": "{{ 7*7 }}{% raw %}{# x #}",
    "format": "{__import__('os')} %s %(x)s {0} $x",
    "keyword": "class",
    "constant": "None",
    "lambda": "lambda: 0",
    "unicode": "\u5377\u79ef \xe9\u0301 \U0001f600",
    "markup": "<script>alert(1)</script> ![x](y) | `code` ~~~ # **b**",
    "dot": ".",
    "parent": "../../up",
    "blank": " ",
    "empty": "",
    "pragma": "noqa fmt: off type: ignore coding: utf-7",
    "broken pragma": "noqa1",
}

POSITIONS = {
    "net": ["name"],
    "layers": ["data", "conv", "branch", "cat", "ip", "twin", "loss", "accuracy"],
    "blobs": ["data", "label", "conv", "branch", "cat", "ip", "twin", "loss", "acc"],
    "params": ["weights", "bias"],
    "paths": ["train", "test", "mean", "prefix"],
    "comments": ["net", "layer", "field", "solver", "setting"],
}

Name = Callable[[str, str], str]
"""What stands at a position: from its kind, and its own name among that kind."""


def quoted(text: str) -> str:
    """A string of a prototxt that holds any characters at all."""
    data = text.encode("utf-8", "surrogateescape")
    return '"' + "".join(map(_escaped, data)) + '"'


def _escaped(byte: int) -> str:
    return chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:03o}"


def comment(text: str) -> str:
    """A comment goes on to the end of the line."""
    return "# " + text.replace("\n", " ")


def net_and_solver(name: Name) -> tuple[str, str]:
    """A net with everything that has a name, and its solver."""

    def layer(kind: str, own: str, bottoms: str, tops: str, more: str = "") -> str:
        bottom = "".join(
            f"bottom: {quoted(name('blobs', b))} " for b in bottoms.split()
        )
        top = "".join(f"top: {quoted(name('blobs', t))} " for t in tops.split())
        text = f'name: {quoted(name("layers", own))} type: "{kind}" {bottom}{top}{more}'
        return f"{comment(name('comments', 'layer'))}\nlayer {{ {text} }}\n"

    def data(phase: str, path: str) -> str:
        source = quoted(name("paths", path))
        mean = quoted(name("paths", "mean"))
        more = (
            f"include {{ phase: {phase} }} transform_param {{ mean_file: {mean} }} "
            f"data_param {{ source: {source} batch_size: 4 backend: LMDB }}"
        )
        return layer("Data", "data", "", "data label", more)

    def convolution(own: str) -> str:
        param = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"
        return layer("Convolution", own, "data", own, param)

    def dense(own: str) -> str:
        weights, bias = (quoted("p" + name("params", p)) for p in ("weights", "bias"))
        param = f"param {{ name: {weights} }} param {{ name: {bias} }} "
        more = f"inner_product_param {{ {comment(name('comments', 'field'))}\n"
        return layer("InnerProduct", own, "cat", own, f"{param}{more} num_output: 5 }}")

    net = "".join(
        (
            f"{comment(name('comments', 'net'))}\n",
            f"name: {quoted(name('net', 'name'))}\n",
            data("TRAIN", "train"),
            data("TEST", "test"),
            convolution("conv"),
            convolution("branch"),
            layer("Concat", "cat", "conv branch", "cat"),
            dense("ip"),
            dense("twin"),
            layer("SoftmaxWithLoss", "loss", "ip label", "loss"),
            layer("Accuracy", "accuracy", "twin label", "acc"),
        )
    )
    solver = (
        f"{comment(name('comments', 'solver'))}\n"
        f"base_lr: 0.1 {comment(name('comments', 'setting'))}\n"
        'lr_policy: "fixed"\nmax_iter: 10\ntest_iter: 1\ntest_interval: 5\nsnapshot: 5\n'
        f"snapshot_prefix: {quoted(name('paths', 'prefix') + 'end')}\n"
        'weights: "start.caffemodel"\n'
        'momentum: 0.9\nweight_decay: 0.0005\nregularization_type: "L2"\n'
    )
    return net, solver


START = NetParameter(layer=[LayerParameter(name="other", blobs=[BlobProto(data=[1])])])
"""Weights to start from, of which the net takes none."""


def translated(
    name: Name, net_file: str = "net.prototxt", solver_file: str = "solver.prototxt"
) -> Translation:
    """The project with names, as it is translated."""
    net, solver = net_and_solver(name)
    shape = {name("blobs", "data"): (4, 3, 8, 8)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / net_file).write_text(net, "utf-8", "surrogateescape")
        (folder / solver_file).write_text(solver, "utf-8", "surrogateescape")
        (folder / "start.caffemodel").write_bytes(START.SerializeToString())
        return translate(
            folder / net_file,
            solver=folder / solver_file,
            options=Options(input_shapes=shape),
        )


def harmless(kind: str, own: str) -> str:
    return f"{kind}_{own}"


HARMLESS = translated(harmless)


def shape_of(script: str) -> str:
    """The syntax tree of a script without what names may change.

    String constants are alike, variables are numbered as they first appear, and a list
    of calls may be in any order: Caffe's log has the outputs in that of their names.
    """
    numbers: dict[str, int] = {}
    module = ast.parse(script)
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = "..."
    for node in ast.walk(module):
        if isinstance(node, ast.List) and all(
            isinstance(e, ast.Call) for e in node.elts
        ):
            node.elts.sort(key=ast.dump)
        elif isinstance(node, ast.Name):
            node.id = f"name{numbers.setdefault(node.id, len(numbers))}"
    return ast.dump(module)


SHAPES = {
    name: shape_of(script)
    for name, script in HARMLESS.scripts.items()
    if name.endswith(".py")
}


def outside_code(markdown: str) -> list[str]:
    """The lines of a README without what stands in code, where nothing is markup."""
    lines: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        if line.startswith("~~~"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            words = re.sub(r"`[^`]*`", " ", line).split()
            lines.append(" ".join(words))
    assert not fenced
    return lines


PROSE = r"[\w .\-/?]*"
"""Names in running text, of which only such characters are left."""


def assert_harmless(translation: Translation) -> None:
    """The scripts are those of harmless names, and the README has no other markup."""
    assert translation.scripts.keys() == HARMLESS.scripts.keys()
    for name, shape in SHAPES.items():
        assert shape_of(translation.scripts[name]) == shape, name
    ours = outside_code(translation.scripts["README.md"])
    theirs = outside_code(HARMLESS.scripts["README.md"])
    assert re.fullmatch(rf"# {PROSE}", ours[0])
    assert re.fullmatch(rf"A Keras model made from {PROSE} and {PROSE}\.", ours[2])
    assert ours[3:] == theirs[3:]
    for text in translation.scripts.values():
        assert all(c.isprintable() or c == "\n" for c in text)
    weights = translation.weights_file or "x"
    assert re.fullmatch(r"[\w.\-]+", weights)


def everywhere(text: str) -> Name:
    """A text at every position, with a number where names must differ."""

    def name(kind: str, own: str) -> str:
        return f"{text}{POSITIONS[kind].index(own) or ''}"

    return name


def at(position: tuple[str, str], text: str) -> Name:
    """A text at one position."""
    return lambda kind, own: text if (kind, own) == position else harmless(kind, own)


def test_the_net_shows_every_position() -> None:
    asked: set[tuple[str, str]] = set()

    def noted(kind: str, own: str) -> str:
        asked.add((kind, own))
        return harmless(kind, own)

    translated(noted)
    assert asked == {(kind, own) for kind, names in POSITIONS.items() for own in names}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_everywhere(text: str) -> None:
    assert_harmless(translated(everywhere(text)))


@pytest.mark.parametrize("text", ["call", "docstring", "template", "markup", "empty"])
@pytest.mark.parametrize("kind", POSITIONS)
def test_hostile_in_one_place(kind: str, text: str) -> None:
    for own in POSITIONS[kind]:
        assert_harmless(translated(at((kind, own), HOSTILE[text])))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_file_names(text: str) -> None:
    name = re.sub(r"[/\0\udc80-\udcff]", "_", text)[:60] + ".prototxt"
    assert_harmless(translated(harmless, f"n{name}", f"s{name}"))


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_any_text_everywhere(text: str) -> None:
    assert_harmless(translated(everywhere(text)))


COLLIDING = [
    ["a/b", "a_b", "a.b", "A_B", "a b", "a_b_2", "a_b_3", "a_b_2_2", "a-b"],
    ["x", "layers", "keras", "model", "losses", "metrics", "initializers", "x_2", "_"],
    [
        "build_model",
        "loss_weights",
        "self",
        "print",
        "np",
        "ops",
        "filler",
        "msra",
        "e",
    ],
    [
        "Conv2D",
        "conv2d",
        "CONV2D",
        "conv2d_",
        "dense",
        "SoftmaxWithLoss",
        "a",
        "b",
        "c",
    ],
    ["data", "label", "input", "output", "inputs", "outputs", "name", "kwargs", "none"],
]


@pytest.mark.parametrize("words", COLLIDING, ids=lambda words: words[0])
def test_names_that_collide(words: list[str]) -> None:
    def name(kind: str, own: str) -> str:
        return words[POSITIONS[kind].index(own)]

    translation = translated(name)
    assert_harmless(translation)
    layers = translation.net.whole.program.layers()
    names = [layer.name.lower() for layer in layers if layer.name is not None]
    assert len(set(names)) == len(names) == 4


def test_a_blob_that_is_called_like_a_function(tmp_path: Path) -> None:
    """A variable of that name in build_model would hide the function."""
    text = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n'
    for bottom, top in (("data", "msra"), ("data", "filler"), ("msra", "again")):
        text += (
            f'layer {{ name: "{top}" type: "Convolution" bottom: "{bottom}" '
            f'top: "{top}" convolution_param {{ num_output: 3 kernel_size: 1 '
            'weight_filler { type: "msra" } } }\n'
        )
    text += 'layer { type: "Concat" bottom: "msra" bottom: "again" top: "cat" }\n'
    (tmp_path / "net.prototxt").write_text(text)
    module = ast.parse(translate(tmp_path / "net.prototxt").model)
    functions = {n.name for n in module.body if isinstance(n, ast.FunctionDef)}
    assert functions == {"msra", "build_model"}
    assigned = {
        node.id
        for node in ast.walk(module)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert {"msra_2", "filler"} <= assigned
    assert assigned.isdisjoint(functions)


@pytest.mark.parametrize("words", [["kernel", "bias"], ["bias", "kernel"]])
def test_layers_that_are_called_like_weights(words: list[str]) -> None:
    def name(kind: str, own: str) -> str:
        known = {"conv": words[0], "ip": words[1]} if kind == "layers" else {}
        return known.get(own, harmless(kind, own))

    scripts = translated(name).scripts
    assert shape_of(scripts["model.py"]) == SHAPES["model.py"]
    assert shape_of(scripts["data.py"]) == SHAPES["data.py"]


@pytest.mark.parametrize(
    "text", ["call", "newlines", "long and wild", "markup", "empty"]
)
@pytest.mark.parametrize(
    "place",
    [
        'layer {{ name: "a" type: {} }}',
        'layer {{ name: "a" type: "ReLU" bottom: {} top: "b" }}',
        'layer {{ name: {} type: "ReLU" bottom: "b" top: "b" }}',
        'input: "b" input_shape {{ dim: 1 dim: 2 }} layer {{ type: "InnerProduct" '
        + 'bottom: "b" top: "a" inner_product_param {{ num_output: 2 '
        + "weight_filler {{ type: {} }} }} }}",
        "net: {}",
        'net_param {{ }} type: {} lr_policy: "fixed" max_iter: 1',
        "net_param {{ }} lr_policy: {} max_iter: 1",
    ],
)
def test_diagnostics_of_hostile_words(place: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "file.prototxt"
    file.write_text(place.format(quoted(HOSTILE[text])))
    with pytest.raises(TranslationError) as error:
        translate(file)
    for diagnostic in error.value.diagnostics:
        shown = diagnostic.render()
        assert all(c.isprintable() or c == "\n" for c in shown)
        assert len(shown) < 2_000
        assert shown.count("\n") <= 5


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each hostile text, with the scripts that are emitted for it."""
    home = tmp_path_factory.mktemp("hostile")
    for number, text in enumerate(HOSTILE.values()):
        folder = home / f"p{number}"
        folder.mkdir()
        for name, content in translated(everywhere(text)).files().items():
            if isinstance(content, str) and "/" not in name:
                (folder / name).write_text(content, "utf-8")
    format_files(sorted(home.rglob("*.py")))
    return home


def test_emitted_files_are_clean(written: Path) -> None:
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [find_ruff_bin(), *command, "--no-cache", "."],
            cwd=written,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr


def test_emitted_files_compile_without_a_warning(written: Path) -> None:
    scripts = [str(p) for p in written.glob("p*/*.py")]
    assert len(scripts) == 3 * len(HOSTILE)
    program = (
        "import sys\n"
        "for path in sys.argv[1:]:\n"
        "    compile(open(path, encoding='utf-8').read(), path, 'exec')\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, *scripts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
