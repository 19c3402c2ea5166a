"""A net with hostile names, built by Keras, with weights that are loaded by name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from caffe2k.schema.caffe_pb2 import BlobProto, BlobShape, LayerParameter, NetParameter
from caffe2k.translation import Translation, translate
from tests.conformance.emitted import imported

pytestmark = pytest.mark.slow

DENSE = {
    "first": '"); import os #',
    "second": "a/b",
    "third": "a_b",
    "fourth": "A_B",
    "fifth": "a_b_2",
    "sixth": ".",
    "seventh": "..",
    "eighth": " ",
    "ninth": "x\0y",
    "tenth": "\u202e\u5377\u79ef",
    "eleventh": "n" * 10_000,
    "twelfth": "__class__",
}
"""Blob -> the hostile name of the layer that writes it, and of the blob itself."""


def quoted(text: str) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in text.encode()) + '"'


def net() -> str:
    """Dense layers side by side, so that each is an output under its own name."""
    text = (
        'layer { name: "{{ 7*7 }}" type: "Input" top: "model\\n" '
        "input_param { shape { dim: 2 dim: 3 } } }\n"
    )
    for name in map(quoted, DENSE.values()):
        text += (
            f'layer {{ name: {name} type: "InnerProduct" bottom: "model\\n" '
            f"top: {name} inner_product_param {{ num_output: 4 }} }}\n"
        )
    return text


def caffemodel() -> NetParameter:
    """Weights in which every layer has values of its own."""
    message = NetParameter()
    for number, name in enumerate(DENSE.values()):
        blobs = [blob((4, 3), number), blob((4,), number + 0.5)]
        message.layer.append(LayerParameter(name=name, blobs=blobs))
    return message


def blob(shape: tuple[int, ...], first: float) -> BlobProto:
    values = np.arange(math.prod(shape)) * 0.01 + first
    return BlobProto(shape=BlobShape(dim=shape), data=values)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Translation, Path]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "net.prototxt").write_text(net())
    (folder / "net.caffemodel").write_bytes(caffemodel().SerializeToString())
    translation = translate(folder / "net.prototxt", weights=folder / "net.caffemodel")
    translation.write(folder / "keras")
    return translation, folder / "keras"


@pytest.fixture(scope="module")
def model(project: tuple[Translation, Path]) -> Iterator[object]:
    translation, folder = project
    with imported(folder, "model") as module:
        model = module.build_model()
        model.load_weights(folder / str(translation.weights_file), by_name=True)
        yield model


def test_each_layer_has_its_own_weights(model) -> None:  # type: ignore[no-untyped-def]
    x = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], np.float32)
    outputs = model.predict_on_batch(x)
    assert list(outputs) == list(DENSE.values())
    for layer in caffemodel().layer:
        weights, bias = (np.array(b.data).reshape(b.shape.dim) for b in layer.blobs)
        assert np.allclose(outputs[layer.name], x @ weights.T + bias, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_it_is_saved_and_loaded(model, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import keras

    x = np.ones((2, 3), np.float32)
    expected = model.predict_on_batch(x)
    rebuilt = keras.models.model_from_json(model.to_json())
    assert [v.name for v in rebuilt.layers] == [v.name for v in model.layers]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").predict_on_batch(x)
    assert list(loaded) == list(expected)
    for name, values in expected.items():
        assert np.array_equal(loaded[name], values)
    model.save_weights(tmp_path / "model.weights.h5")
    rebuilt.load_weights(tmp_path / "model.weights.h5")


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    layer = LayerParameter(name="????", blobs=[blob((4, 3), 1), blob((4,), 2)])
    data = NetParameter(layer=[layer]).SerializeToString()
    (tmp_path / "a.caffemodel").write_bytes(data.replace(b"????", b"\xff\xfe\x80\0"))
    (tmp_path / "a.prototxt").write_text(
        'input: "data" input_shape { dim: 1 dim: 3 } layer { name: "\\377\\376\\200\\000" '
        'type: "InnerProduct" bottom: "data" inner_product_param { num_output: 4 } '
        'top: "a" }'
    )
    translation = translate(tmp_path / "a.prototxt", weights=tmp_path / "a.caffemodel")
    (coverage,) = translation.ported.values()
    assert [c.keras_name for c in coverage.ported] == ["layer____"]
    translation.write(tmp_path / "keras")
