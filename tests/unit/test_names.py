"""Names from prototxts become names that Keras, HDF5 and Python take."""

from __future__ import annotations

import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2k.codegen.names import Names, keras_name, python_name

ANYTHING = st.text(st.characters(), max_size=200)
NASTY = ["", ".", "..", "/", "a/b", "\0", "_", "__class__", "1x1/3", "-", " ", "\ud800"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1", "conv1"),
        ("inception_3a/1x1", "inception_3a_1x1"),
        ("1x1", "1x1"),
        ("", "model"),
        (".", "layer."),
        ("..", "layer.."),
        (".hidden", "layer.hidden"),
        ("_conv", "layer_conv"),
        ("-conv", "layer-conv"),
        ("a b\0c", "a_b_c"),
        ("\u5377\u79ef", "layer__"),
        ("n" * 10_000, "n" * 100),
    ],
)
def test_keras_names(name: str, expected: str) -> None:
    assert keras_name(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1", "conv1"),
        ("inception_3a/1x1", "inception_3a_1x1"),
        ("1x1", "blob_1x1"),
        ("", "blob"),
        ("...", "blob"),
        ("__class__", "class_"),
        ("lambda", "lambda_"),
        ("None", "none"),
        ("match", "match_"),
        ("caf\xe9", "cafe"),
        ("\u5377\u79ef", "blob"),
        ("ReLU", "relu"),
        ("n" * 10_000, "n" * 100),
    ],
)
def test_python_names(name: str, expected: str) -> None:
    assert python_name(name) == expected


@given(ANYTHING | st.sampled_from(NASTY))
def test_any_name_is_one_that_keras_takes(name: str) -> None:
    made = keras_name(name)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]*", made)
    assert len(made) <= 110
    assert keras_name(made) == made[:100]


@given(ANYTHING | st.sampled_from(NASTY) | st.sampled_from(keyword.kwlist))
def test_any_name_is_a_variable(name: str) -> None:
    made = python_name(name)
    assert made.isidentifier()
    assert made.isascii()
    assert not keyword.iskeyword(made)
    assert not keyword.issoftkeyword(made)


@given(st.lists(st.sampled_from(["a", "A", "a_2", "a_b", "b", "a_2_2"]), max_size=30))
def test_names_are_handed_out_once(wanted: list[str]) -> None:
    names = Names({"b"})
    given = [names.claim(name) for name in wanted]
    assert len({name.lower() for name in given} | {"b"}) == len(given) + 1
    for name, made in zip(wanted, given, strict=True):
        assert made == name or re.fullmatch(rf"{name}_\d+", made)


def test_names_that_collide_are_told_apart() -> None:
    names = Names()
    given = [names.claim(keras_name(n)) for n in ("a/b", "a_b", "A_b", "a_b_2")]
    assert given == ["a_b", "a_b_2", "A_b_3", "a_b_2_2"]
