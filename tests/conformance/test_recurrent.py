"""Recurrent layers through emitted code where their inputs' layouts matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.emitted import EmittedNet, translated
from tests.conformance.gradients import run
from tests.conformance.suite import error
from tests.runtime.caffe_recurrence import LSTMRule, RNNRule
from tests.unit.nets import entry, layer

RNG = np.random.default_rng(17)
RULES = {"LSTM": LSTMRule, "RNN": RNNRule}
FORMATS = ("channels_last", "channels_first")


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.7, shape).astype("float32")


def emitted(text: str, folder: Path, **options: object) -> EmittedNet:
    """The net with random weights."""
    path = folder / "net.prototxt"
    path.write_text(text)
    net = EmittedNet(
        translated(path, None, "TEST", folder / "out", **options),
        folder / "out",
        "TEST",
    )
    for planned in net.net.plan.layers:
        keras_layer = net.model.get_layer(planned.keras_name)
        keras_layer.set_weights([normal(*w.shape) for w in keras_layer.weights])
    return net


def blobs(net: EmittedNet, name: str) -> list[np.ndarray]:
    """The weights of a Caffe layer."""
    values = {
        planned.keras_name: net.model.get_layer(planned.keras_name).get_weights()
        for planned in net.net.plan.layers
    }
    found = net.params(values)
    return [found[key] for key in sorted(found) if key[0] == name]


def recurrent(kind: str, bottoms: str, tops: str = "out", more: str = "") -> str:
    param = f"recurrent_param {{ num_output: 3 {more} }}"
    return layer("op", kind, bottoms, tops, param)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("features", [(4,), (2, 3), (2, 3, 2)])
def test_layouts(
    kind: str, features: tuple[int, ...], form: str, tmp_path: Path
) -> None:
    """A static input that is an image keeps its layout; time and streams come first."""
    text = 'force_backward: true name: "n"\n'
    text += entry("x", 4, 2, *features) + entry("cont", 4, 2) + entry("s", 2, 3, 2, 4)
    text += recurrent(kind, "x cont s")
    net = emitted(text, tmp_path, data_format=form)
    inputs = {"x": normal(4, 2, *features), "s": normal(2, 3, 2, 4)}
    inputs["cont"] = RNG.integers(0, 2, (4, 2)).astype("float32")
    rule, dout = RULES[kind](*blobs(net, "op")), normal(4, 2, 3)

    expected = rule.forward(inputs["x"], inputs["cont"], inputs["s"])[0]
    (dx, dstatic), dblobs = rule.backward(dout)
    passes = run(net, inputs, {"out": dout})
    assert error(passes.out["out"], expected) < 1e-5
    assert error(passes.din["x"], dx) < 1e-4
    assert error(passes.din["s"], dstatic) < 1e-4
    for i, dblob in enumerate(dblobs):
        assert error(passes.dparam["op", i], dblob) < 1e-4


def test_image_as_static_input_is_not_transposed(tmp_path: Path) -> None:
    text = entry("x", 4, 2, 5) + entry("cont", 4, 2) + entry("s", 2, 3, 2, 4)
    emitted(text + recurrent("LSTM", "x cont s"), tmp_path)
    assert "Permute" not in (tmp_path / "out" / "model.py").read_text()


@pytest.mark.parametrize("kind", RULES)
def test_exposed_state(kind: str, tmp_path: Path) -> None:
    names = ["h", "c"][: 2 if kind == "LSTM" else 1]
    text = entry("x", 4, 2, 5) + entry("cont", 4, 2) + entry("s", 2, 6)
    text += "".join(entry(n, 1, 2, 3) for n in names)
    bottoms, tops = " ".join(names), " ".join(f"{n}T" for n in names)
    text += recurrent(kind, f"x cont s {bottoms}", f"out {tops}", "expose_hidden: true")
    net = emitted(text, tmp_path)
    inputs = {"x": normal(4, 2, 5), "cont": np.ones((4, 2), "float32")}
    inputs |= {"s": normal(2, 6)} | {n: normal(1, 2, 3) for n in names}
    rule = RULES[kind](*blobs(net, "op"))
    out, *last = rule.forward(
        inputs["x"], inputs["cont"], inputs["s"], [inputs[n][0] for n in names]
    )
    passes = run(net, inputs, {})
    assert error(passes.out["out"], out) < 1e-5
    for name, state in zip(names, last, strict=True):
        assert error(passes.out[f"{name}T"], state[None]) < 1e-5


def test_shared_layers_carry_their_own_states(tmp_path: Path) -> None:
    text, shared = "", " ".join(f'param {{ name: "{n}" }}' for n in "xbh")
    for side, streams in (("a", 2), ("b", 3)):
        text += entry(f"x{side}", 4, streams, 5) + entry(f"cont{side}", 4, streams)
        param = f"recurrent_param {{ num_output: 3 }} {shared}"
        text += layer(side, "LSTM", f"x{side} cont{side}", side, param)
    net = emitted(text, tmp_path)
    rule, states = LSTMRule(*blobs(net, "a")), {"a": None, "b": None}
    for _ in range(3):
        inputs = {"xa": normal(4, 2, 5), "xb": normal(4, 3, 5)}
        inputs |= {
            k: np.ones(inputs[f"x{k[-1]}"].shape[:2]) for k in ("conta", "contb")
        }
        inputs = {k: v.astype("float32") for k, v in inputs.items()}
        passes = run(net, inputs, {})
        for side in "ab":
            expected, *states[side] = rule.forward(
                inputs[f"x{side}"], inputs[f"cont{side}"], state=states[side]
            )
            assert error(passes.out[side], expected) < 1e-5


def test_embed_takes_any_layout(tmp_path: Path) -> None:
    """The vectors become the last axis, whatever the layout of the integers."""
    text = entry("x", 2, 3, 4, 2)
    text += layer(
        "op", "Embed", "x", "out", "embed_param { num_output: 5 input_dim: 7 }"
    )
    net = emitted(text, tmp_path)
    integers = RNG.integers(0, 7, (2, 3, 4, 2)).astype("float32")
    vectors, bias = blobs(net, "op")
    dout = normal(2, 3, 4, 2, 5)
    passes = run(net, {"x": integers}, {"out": dout})
    assert error(passes.out["out"], vectors[integers.astype(int)] + bias) < 1e-5
    expected = np.zeros_like(vectors)
    np.add.at(expected, integers.astype(int), dout)
    assert error(passes.dparam["op", 0], expected) < 1e-4
    assert error(passes.dparam["op", 1], dout.reshape(-1, 5).sum(0)) < 1e-4


def test_embed_without_bias_is_keras_own(tmp_path: Path) -> None:
    param = "embed_param { num_output: 5 input_dim: 7 bias_term: false }"
    text = entry("x", 2, 3) + layer("op", "Embed", "x", "out", param)
    net = emitted(text, tmp_path)
    assert "layers.Embedding(7, 5, name" in (tmp_path / "out" / "model.py").read_text()
    integers = RNG.integers(0, 7, (2, 3))
    passes = run(net, {"x": integers.astype("float32")}, {})
    assert error(passes.out["out"], blobs(net, "op")[0][integers]) == 0
