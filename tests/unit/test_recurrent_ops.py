"""LSTM, RNN, LSTMUnit and Embed: what is refused, warned of and emitted."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.ir.net import Phase
from tests.unit.nets import body, entry, found, layer, translated

SEQUENCE = entry("x", 4, 2, 5) + entry("cont", 4, 2)


def lstm(bottoms: str = "x cont", tops: str = "out", more: str = "") -> str:
    return layer(
        "op", "LSTM", bottoms, tops, f"recurrent_param {{ num_output: 3 {more} }}"
    )


def refusal(text: str) -> list[tuple[str, str]]:
    diagnostics = Diagnostics()
    with pytest.raises(TranslationError):
        translated(text, diagnostics)
    return found(diagnostics)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            SEQUENCE + layer("op", "RNN", "x cont"),
            ("missing-num-output", "layer `op` has no `num_output`"),
        ),
        (
            SEQUENCE + lstm("x cont x x"),
            (
                "bottom-count",
                "layer `op` has 4 bottoms; LSTM without `expose_hidden` takes 2 to 3",
            ),
        ),
        (
            SEQUENCE + lstm("x cont x x", more="expose_hidden: true"),
            (
                "top-count",
                "layer `op` has 1 tops; LSTM with `expose_hidden` takes 3",
            ),
        ),
        (
            SEQUENCE + lstm("cont cont"),
            (
                "bottom-shapes",
                (
                    "layer `op` needs bottom 0 (`cont`) of shape "
                    "(time steps, streams, ...), not (4, 2)"
                ),
            ),
        ),
        (
            SEQUENCE + entry("c", 2, 4) + lstm("x c"),
            (
                "bottom-shapes",
                "layer `op` needs bottom 1 (`c`) of shape (4, 2), not (2, 4)",
            ),
        ),
        (
            SEQUENCE + entry("s", 3, 7) + lstm("x cont s"),
            (
                "bottom-shapes",
                "layer `op` needs bottom 2 (`s`) of shape (2, ...), not (3, 7)",
            ),
        ),
        (
            SEQUENCE
            + entry("h", 1, 2, 3)
            + entry("c", 2, 3)
            + lstm("x cont h c", "out hT cT", "expose_hidden: true"),
            (
                "bottom-shapes",
                "layer `op` needs bottom 3 (`c`) of shape (1, 2, 3), not (2, 3)",
            ),
        ),
        (
            entry("c", 1, 2, 3)
            + entry("g", 1, 2, 8)
            + entry("cont", 1, 2)
            + layer("op", "LSTMUnit", "c g cont", "c1 h1"),
            (
                "bottom-shapes",
                (
                    "layer `op` needs bottoms of shapes (1, streams, units), "
                    "(1, streams, 4 * units) and (1, streams), not (1, 2, 3), (1, 2, 8), "
                    "(1, 2)"
                ),
            ),
        ),
        (
            SEQUENCE
            + layer("op", "Embed", "cont", more="embed_param { num_output: 3 }"),
            ("missing-input-dim", "layer `op` has no `input_dim`"),
        ),
    ],
)
def test_refused(text: str, problem: tuple[str, str]) -> None:
    assert refusal(text) == [problem]


def test_lstm_unit() -> None:
    text = entry("c", 1, 2, 3) + entry("g", 1, 2, 12) + entry("cont", 1, 2)
    text += layer("op", "LSTMUnit", "c g cont", "c1 h1")
    assert 'c1, h1 = LSTMUnit(name="op")([c, g, cont])' in body(text)


def test_initializers() -> None:
    """One for all weights, unless the filler makes different ones of their shapes."""
    filler = 'weight_filler { type: "xavier" variance_norm: %s }'
    one = body(SEQUENCE + lstm(more=filler % "FAN_OUT"))
    text = " ".join(one)
    assert text.count("initializer=") == 1
    several = " ".join(body(SEQUENCE + lstm(more=filler % "AVERAGE")))
    assert "kernel_initializer=" in several
    assert "recurrent_initializer=" in several


DUMMY = """
layer { name: "data" type: "DummyData" top: "x" top: "cont" include { phase: %s }
  dummy_data_param { shape { dim: 4 dim: %d dim: 5 } shape { dim: 4 dim: %d } } }
"""


def test_streams_that_differ_between_phases() -> None:
    text = DUMMY % ("TRAIN", 2, 2) + DUMMY % ("TEST", 7, 7)
    assert any("streams=7" in line for line in body(text + lstm()))


SHARED = " ".join(f'param {{ name: "{name}" }}' for name in "xbh")


def siblings(time: int) -> str:
    text = DUMMY % ("TRAIN", 2, 2) + DUMMY % ("TEST", 2, 2)
    if time == 1:
        text = text.replace("dim: 4", "dim: 1")
    for name in "ab":
        param = f"recurrent_param {{ num_output: 3 }} {SHARED}"
        text += layer(name, "LSTM", "x cont", more=param)
    return text


def test_shared_recurrence_is_warned_of() -> None:
    diagnostics = Diagnostics()
    translated(siblings(time=4), diagnostics)
    assert found(diagnostics) == [
        (
            "shared-recurrence",
            (
                "layer `b` shares the weights of `a`; Caffe, while training, runs `b` with "
                "hidden-to-hidden weights of its own that never learn, but the Keras layer "
                "shares them as written"
            ),
        )
    ]


def test_shared_recurrence_of_one_step_or_in_test_is_as_written() -> None:
    for text, phase in ((siblings(time=1), None), (siblings(time=4), "TEST")):
        diagnostics = Diagnostics()
        chosen = {} if phase is None else {"phase": Phase[phase]}
        translated(text, diagnostics, **chosen)
        assert found(diagnostics) == []


def test_shared_layers_have_a_state_each() -> None:
    text = " ".join(body(siblings(time=4)))
    assert 'a = LSTM(3, uses=2, name="a")' in text
    assert "a([x_2, cont]) x = a([x_2, cont], use=1)" in text
