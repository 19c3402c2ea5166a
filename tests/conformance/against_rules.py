"""A layer's emitted code, held against a NumPy reading of its C++."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.conformance.emitted import EmittedNet, translated
from tests.conformance.gradients import Passes
from tests.conformance.suite import error
from tests.unit.nets import entry

RNG = np.random.default_rng(19)
FORMATS = ("channels_last", "channels_first")

Arrays = Mapping[str, np.ndarray]


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.7, shape).astype("float32")


def emitted(
    text: str, inputs: Arrays, folder: Path, form: str, phase: str = "TRAIN"
) -> EmittedNet:
    """The net with random weights; variances are positive."""
    entries = "".join(entry(name, *array.shape) for name, array in inputs.items())
    path = folder / "net.prototxt"
    path.write_text('name: "n" force_backward: true\n' + entries + text)
    translation = translated(path, None, phase, folder / "out", data_format=form)
    net = EmittedNet(translation, folder / "out", phase)
    for planned in net.net.plan.layers:
        values = [
            abs(normal(*w.keras_shape))
            if "variance" in w.name
            else normal(*w.keras_shape)
            for w in planned.weights
        ]
        net.model.get_layer(planned.keras_name).set_weights(values)
    return net


def blobs(net: EmittedNet, name: str = "op") -> list[np.ndarray]:
    """The blobs of a Caffe layer."""
    values = {
        planned.keras_name: net.model.get_layer(planned.keras_name).get_weights()
        for planned in net.net.plan.layers
    }
    found = net.params(values)
    return [found[key] for key in sorted(found) if key[0] == name]


class Dout:
    """Draws the gradient of a top when a rule has computed it, and keeps it."""

    drawn: np.ndarray

    def __call__(self, top: np.ndarray) -> np.ndarray:
        self.drawn = normal(*top.shape)
        return self.drawn


def check(passes: Passes, top: np.ndarray, gradients: Mapping[str, np.ndarray]) -> None:
    """`gradients` by input, and those of the layer's blobs by their index."""
    assert error(passes.out["out"], top) <= 1e-5
    for name, expected in gradients.items():
        if name.isdigit():
            found = passes.dparam["op", int(name)]
            expected = expected.reshape(found.shape)
        else:
            found = passes.din[name]
        assert error(found, expected) <= 1e-4
