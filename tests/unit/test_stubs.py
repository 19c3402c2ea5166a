"""Python layers and unknown types: classes for the user to write."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from caffe2k.cli import main
from caffe2k.codegen.stubs import Origin
from caffe2k.diagnostics import Diagnostics, TranslationError
from tests.unit.nets import body, dense, entry, found, layer, translated


def python(
    name: str,
    bottom: str = "",
    top: str = "",
    module: str = "own.layers",
    more: str = "",
) -> str:
    """A Python layer whose class is named after the layer."""
    param = f'python_param {{ module: "{module}" layer: "{name.title()}" {more} }}'
    return layer(name, "Python", bottom, top, param)


def caffe2k(folder: Path, command: str) -> Result:
    words = [word.replace("@", f"{folder}/") for word in shlex.split(command)]
    return CliRunner().invoke(main, words, catch_exceptions=False)


def translation(
    folder: Path, net: str, options: str = "", *, force: bool = False
) -> str:
    """Writes a net and its translation; what the command says on stderr."""
    (folder / "net.prototxt").write_text(net, encoding="utf-8")
    again = " --force" if force else ""
    result = caffe2k(folder, f"translate @net.prototxt -o @out {options}{again}")
    assert result.exit_code == 0, result.stderr
    return result.stderr


def classes(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


def test_a_python_layer_becomes_a_class_with_its_parameter_string() -> None:
    net = entry("data", 2, 3, 4, 5) + python(
        "crop", "data", "rois", more="param_str: \"'size': 3\" share_in_parallel: true"
    )
    assert body(net) == [
        'model = keras.Sequential(name="model")',
        'model.add(keras.Input((4, 5, 3), name="data"))',
        'model.add(layers.Permute((3, 1, 2), name="data_transpose"))',
        "model.add(",
        'custom_layers.Crop(param_str="\'size\': 3", top_shapes=[(None,)], name="crop")',
        ")",
        "return model",
    ]


def test_a_shape_is_asked_for_by_the_first_layer_that_needs_it() -> None:
    diagnostics = Diagnostics()
    net = (
        entry("data", 2, 3)
        + python("one", "data", "a")
        + python("two", "a", "b")
        + dense("fc", "b")
        + dense("fc2", "fc")
    )
    with pytest.raises(TranslationError):
        translated(net, diagnostics)
    errors = [d for d in diagnostics if d.severity.value == "error"]
    assert [(d.code, d.message, d.help) for d in errors] == [
        (
            "unknown-shape",
            "layer `fc` needs the shape of `b`, which only the layer that writes it knows",
            "pass --input-shape b=N,C,H,W",
        )
    ]


def test_a_shape_can_be_given() -> None:
    net = entry("data", 2, 3) + python("one", "data", "a") + dense("fc", "a")
    whole = translated(net, input_shapes={"a": (7, 4)})
    step = whole.whole.program.steps[0]
    assert dict(step.layer.call.kwargs)["top_shapes"] == [(None, 4)]


def test_in_place_the_shape_is_the_bottoms() -> None:
    net = entry("data", 2, 3) + dense("fc", "data") + python("one", "fc", "fc")
    (stub,) = [s for s in translated(net).whole.program.steps if s.layer.name == "one"]
    assert dict(stub.layer.call.kwargs)["top_shapes"] == [(None, 5)]


def test_a_loss_is_one_number() -> None:
    net = entry("data", 2, 3) + layer(
        "loss",
        "Python",
        "data",
        more='loss_weight: 2 python_param { module: "m" layer: "Loss" }',
    )
    text = "\n".join(body(net))
    assert "custom_layers.Loss(top_shapes=[(1,)]" in text
    assert 'WeightedOutput(2.0, name="loss_loss")' in text


def test_layers_of_one_class_share_it_and_others_get_names_of_their_own(
    tmp_path: Path,
) -> None:
    net = (
        entry("data", 2, 3)
        + python("a", "data", module="m")
        + python("b", "data", module="m").replace('"B"', '"A"')
        + python("c", "data", module="n").replace('"C"', '"A"')
        + python("d", "data").replace('"D"', '"class"')
        + python("e", "data").replace('"E"', '"1 + __import__"')
    )
    translation(tmp_path, net)
    text = (tmp_path / "out/custom_layers.py").read_text(encoding="utf-8")
    assert classes(tmp_path / "out/custom_layers.py") == [
        "A",
        "A_2",
        "Layerclass",
        "Layer1___import",
    ]
    assert text.count("Layer a, net.prototxt line 2:") == 1
    assert text.count("Layer b, net.prototxt line 3:") == 1


def test_names_are_data() -> None:
    hostile = Origin('m.x"""; import os #', is_python=True)
    assert hostile.class_name.isidentifier()
    assert '"' not in str(hostile)


def test_a_python_layer_that_brings_data(tmp_path: Path) -> None:
    net = python("data", "", "image label", more='param_str: "{}"') + dense(
        "fc", "image"
    )
    said = translation(tmp_path, net, "--input-shape image=2,3,4,4 --phase TRAIN")
    assert "write Data.__iter__() in custom_data.py" in said
    data = (tmp_path / "out/data.py").read_text(encoding="utf-8")
    assert "import custom_data\n" in data
    assert "custom_data.Data(" in data
    assert "shapes=[(2, 3, 4, 4), (2,)]" in data
    assert 'param_str="{}"' in data
    assert classes(tmp_path / "out/custom_data.py") == ["Data"]


def test_the_shape_of_python_data_must_be_given() -> None:
    diagnostics = Diagnostics()
    with pytest.raises(TranslationError):
        translated(
            python("data", "", "image label") + dense("fc", "image"), diagnostics
        )
    assert found(diagnostics) == [
        (
            "unknown-data-shape",
            "only layer `data` itself knows the shape of `image`, an input of the net",
        )
    ]


def test_files_of_the_user_are_kept(tmp_path: Path) -> None:
    net = python("data", "", "image") + python("crop", "image", "rois")
    shape = "--input-shape image=2,3,4,4"
    assert "stub-missing" not in translation(tmp_path, net, shape)
    mine = "class Crop:\n    mine = True\n"
    for name in ("custom_layers.py", "custom_data.py"):
        (tmp_path / "out" / name).write_text(mine, encoding="utf-8")
    said = translation(tmp_path, net + python("two", "rois"), shape, force=True)
    for name in ("custom_layers.py", "custom_data.py"):
        assert (tmp_path / "out" / name).read_text(encoding="utf-8") == mine
    assert "`custom_layers.py` is kept as it is, and has no class `Two`" in said
    assert "`custom_data.py` is kept as it is, and has no class `Data`" in said
    assert "Crop`" not in said
    assert "two" in (tmp_path / "out/model.py").read_text(encoding="utf-8")


def test_a_layer_without_tops_is_left_out() -> None:
    diagnostics = Diagnostics()
    shown = 'layer { name: "show" type: "Python" bottom: "data" '
    shown += 'python_param { module: "m" layer: "Show" } }'
    translated(entry("data", 2, 3) + dense("fc", "data") + shown, diagnostics)
    assert found(diagnostics) == [
        ("stub-without-top", "layer `show` writes no blob, and is left out")
    ]


def test_a_python_layer_must_be_named() -> None:
    diagnostics = Diagnostics()
    with pytest.raises(TranslationError):
        translated(entry("data", 2, 3) + layer("p", "Python", "data"), diagnostics)
    assert [d.code for d in diagnostics] == ["python-layer-name"]


OWN = 'own_param { beta: 1.5 mode: FAST sizes: [1, 2] part { a: "x" } part { a: "y" } }'


def test_unknown_types_become_classes_where_that_is_wanted(tmp_path: Path) -> None:
    more = f"param {{ lr_mult: 2 }} {OWN}"
    net = entry("data", 2, 3) + layer("own", "Own", "data", more=more)
    said = translation(tmp_path, net, "--stub-unknown")
    assert "warning[stub]: layer `own` is left for you to write" in said
    assert "error" not in said
    model = (tmp_path / "out/model.py").read_text(encoding="utf-8")
    (call,) = [
        node
        for node in ast.walk(ast.parse(model))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "Own"
    ]
    arguments = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    part = {"part": [{"a": "x"}, {"a": "y"}]}
    own = {"beta": 1.5, "mode": "FAST", "sizes": [1, 2], **part}
    assert arguments["settings"] == {"own_param": own}


def test_a_misspelt_type_is_no_unknown_one() -> None:
    diagnostics = Diagnostics()
    net = entry("data", 2, 3) + layer("own", "Convolutoin", "data")
    with pytest.raises(TranslationError):
        translated(net, diagnostics, stub_unknown=True)
    assert [d.code for d in diagnostics] == ["unknown-layer-type"]


def test_a_forks_variant_of_a_type_is_no_misspelling(tmp_path: Path) -> None:
    net = layer("data", "ImageSegData", "", "image label") + dense("fc", "image")
    translation(tmp_path, net, "--stub-unknown --input-shape image=2,3")
    data = (tmp_path / "out/data.py").read_text(encoding="utf-8")
    assert "custom_data.ImageSegData(" in data


def test_unknown_data_layers_become_readers(tmp_path: Path) -> None:
    net = layer("data", "OwnData", "", "image label", OWN) + dense("fc", "image")
    translation(tmp_path, net, "--stub-unknown --input-shape image=2,3")
    data = (tmp_path / "out/data.py").read_text(encoding="utf-8")
    assert "custom_data.OwnData(" in data
    assert '"beta": 1.5' in data
