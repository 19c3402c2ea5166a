"""Keras itself reads what is written, and what it writes comes back to Caffe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffe2k.porting import diff_weights, port_weights
from caffe2k.translation import translate
from tests.conformance.emitted import imported

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
CASES = {
    "digits_lenet": ("train_val.prototxt", "lenet_iter_400.caffemodel"),
    "resnet_small": ("train_val.prototxt", "resnet_iter_200.caffemodel"),
    "siamese_digits": ("train_val.prototxt", "siamese_iter_600.caffemodel"),
    "vqa": ("train_val.prototxt", "vqa_iter_1200.caffemodel"),
    "two_inputs_two_outputs": ("deploy.prototxt", "two_iter_600.caffemodel"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_emitted_model_loads_and_saves(name: str, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    net, given = (SAMPLES / name / file for file in CASES[name])
    port_weights(net, given, tmp_path / "x.weights.h5")
    port_weights(net, given, tmp_path / "x.h5")
    translate(net).write(tmp_path / "keras")
    with imported(tmp_path / "keras", "model") as module:
        model, other = module.build_model(), module.build_model()
        model.load_weights(tmp_path / "x.weights.h5")
        other.load_weights(tmp_path / "x.h5", by_name=True)
        for ours, theirs in zip(model.weights, other.weights, strict=True):
            assert np.array_equal(ours, theirs), ours.path
        for variable in model.trainable_variables:
            variable.assign(variable + 0.25)
        if name == "digits_lenet":
            # What an optimizer and metrics keep must not be taken for layers.
            model.compile("adam", "mse", metrics=["mae"])
            model.fit(np.ones((2, 28, 28, 1)), np.ones((2, 10)), verbose=0)
        model.save(tmp_path / "tuned.keras")
        model.save_weights(tmp_path / "tuned.weights.h5")
    for saved in ("tuned.keras", "tuned.weights.h5"):
        back = tmp_path / f"{saved}.caffemodel"
        port_weights(net, tmp_path / saved, back)
        assert diff_weights(tmp_path / saved, back, net=net) == ()
        changed = {found.layer for found in diff_weights(given, back)}
        assert changed
        assert changed == {found.layer for found in diff_weights(given, back, atol=0.2)}
