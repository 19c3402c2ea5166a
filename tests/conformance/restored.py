"""An emitted model written and read back, in the ways that Keras knows."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tests.conformance.emitted import Arrays, EmittedNet, imported

WAYS = ("from_config", "model_from_json", "load_model")


def differences(net: EmittedNet, inputs: Arrays, folder: Path) -> list[str]:
    """The ways after which the model of the project in `folder` gives other outputs."""
    expected, found = _outputs(net, net.model, inputs), []
    with imported(folder, "model"):
        for way in WAYS:
            outputs = _outputs(net, _restored(net.model, way, folder), inputs)
            same = outputs.keys() == expected.keys() and all(
                np.array_equal(outputs[name], expected[name], equal_nan=True)
                for name in expected
            )
            if not same:
                found.append(way)
    return found


def _restored(model: keras.Model, way: str, folder: Path) -> keras.Model:
    if way == "load_model":
        model.save(folder / "saved.keras")
        return keras.models.load_model(folder / "saved.keras")
    if way == "from_config":
        copy = type(model).from_config(model.get_config())
    else:
        copy = keras.models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    return copy


def _outputs(
    net: EmittedNet, model: keras.Model, inputs: Arrays
) -> dict[str, np.ndarray]:
    """What a model gives in inference; recurrent layers start from 0."""
    for layer in model.layers:
        if hasattr(layer, "reset_state"):
            layer.reset_state()
    result = model(net.model_inputs(net.tensors(inputs)), training=False)
    return {
        name: keras.ops.convert_to_numpy(value)
        for name, value in net.outputs(result).items()
    }
