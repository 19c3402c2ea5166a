"""Copying weights by layer name, as caffe train --weights does."""

import h5py
import keras
import numpy as np
import pytest

from caffe2k.runtime.finetune import load_caffe_weights


def net(*layers, inputs=4):
    return keras.Sequential([keras.Input((inputs,)), *layers])


def write(path, layers):
    """The legacy layout: layer name -> its arrays in Keras's order."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"w{i}".encode() for i in range(len(arrays))]
            for i, array in enumerate(arrays):
                group[f"w{i}"] = array
    return path


def numbers(*shapes):
    return [np.arange(np.prod(s), dtype="float32").reshape(s) + 1 for s in shapes]


def test_copies_by_name(tmp_path):
    dense = keras.layers.Dense(2, name="ip1")
    model = net(dense, keras.layers.ReLU(), keras.layers.Dense(3, name="ip2_new"))
    kept = model.get_layer("ip2_new").get_weights()
    ip1 = numbers((4, 2), (2,))
    path = write(tmp_path / "w.h5", {"ip2": numbers((2, 9)), "ip1": ip1, "pool": []})

    report = load_caffe_weights(model, path)

    assert (report.loaded, report.kept, report.skipped) == (
        ("ip1",),
        ("ip2_new",),
        ("ip2",),
    )
    assert str(report).splitlines() == [
        "loaded                    ip1",
        "kept (not in the file)    ip2_new",
        "skipped (not in the net)  ip2",
    ]
    for actual, expected in zip(dense.get_weights(), ip1, strict=True):
        np.testing.assert_array_equal(actual, expected)
    for actual, expected in zip(
        model.get_layer("ip2_new").get_weights(), kept, strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "arrays", [numbers((2, 4), (2,)), numbers((4, 2)), numbers((4, 2), (2,), (2,))]
)
def test_another_shape_changes_nothing(tmp_path, arrays):
    model = net(keras.layers.Dense(2, name="a"), keras.layers.Dense(2, name="b"))
    before = model.get_weights()
    path = write(tmp_path / "w.h5", {"a": numbers((4, 2), (2,)), "b": arrays})
    with pytest.raises(ValueError, match=r"layer 'b' .* rename the layer"):
        load_caffe_weights(model, path)
    for actual, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("trainable", [True, False])
def test_trainable_weights_come_first(tmp_path, trainable):
    layer = keras.layers.BatchNormalization(name="bn", trainable=trainable)
    model = net(layer, inputs=2)
    gamma, beta, mean, variance = (np.full(2, i, "float32") for i in range(4))
    path = write(tmp_path / "w.h5", {"bn": [gamma, beta, mean, variance]})
    load_caffe_weights(model, path)
    assert [w[0] for w in layer.get_weights()] == [0, 1, 2, 3]


def test_reads_what_keras_reads(tmp_path):
    """The names in numbered parts, as where they are too long for one attribute."""
    a, b = numbers((4, 2), (2,)), numbers((2, 3), (3,))
    path = write(tmp_path / "w.h5", {"a": a, "b": b})
    with h5py.File(path, "r+") as file:
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"a"], [b"b"]
        file["b"].attrs["weight_names0"] = file["b"].attrs.pop("weight_names")
    ours, theirs = (
        net(keras.layers.Dense(2, name="a"), keras.layers.Dense(3, name="b"))
        for _ in range(2)
    )
    assert load_caffe_weights(ours, path).loaded == ("a", "b")
    theirs.load_weights(path, by_name=True)
    for actual, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_file_without_layer_names_is_refused(tmp_path):
    model = net(keras.layers.Dense(2, name="a"))
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(
        ValueError, match=r"model\.weights\.h5 does not hold weights by"
    ):
        load_caffe_weights(model, tmp_path / "model.weights.h5")


def test_another_kind_of_file_is_refused(tmp_path):
    model = net(keras.layers.Dense(2, name="a"))
    (tmp_path / "net.caffemodel").write_bytes(b"\n\x04net")
    with pytest.raises(ValueError, match=r"caffemodel is not an HDF5 file; `caffe2k w"):
        load_caffe_weights(model, tmp_path / "net.caffemodel")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*absent.h5"):
        load_caffe_weights(model, tmp_path / "absent.h5")


def test_a_snapshot_is_read_by_name_too(tmp_path):
    old = net(keras.layers.Dense(2, name="a"), keras.layers.Dense(3, name="top"))
    old.save(tmp_path / "net_iter_9.keras")
    new = net(keras.layers.Dense(2, name="a"), keras.layers.Dense(5, name="new_top"))
    report = load_caffe_weights(new, tmp_path / "net_iter_9.keras")
    assert (report.loaded, report.kept, report.skipped) == (
        ("a",),
        ("new_top",),
        ("top",),
    )
    for actual, expected in zip(
        new.get_weights()[:2], old.get_weights()[:2], strict=True
    ):
        np.testing.assert_array_equal(actual, expected)
