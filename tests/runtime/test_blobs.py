"""Blobs of Caffe, by name, out of a model with other axes."""

import keras
import numpy as np

from caffe2k.runtime.blobs import Blob, blob_values


def test_a_blob_of_a_layer_in_caffes_axes():
    x = keras.Input((4, 5, 3), name="data")
    y = keras.layers.Conv2D(2, 3, name="conv")(x)
    model = keras.Model(x, keras.layers.Flatten()(y))
    image = np.random.default_rng(0).random((2, 4, 5, 3)).astype("float32")
    values = blob_values(model, Blob("conv", (0, 2, 3, 1)), image)
    expected = keras.Model(x, y).predict_on_batch(image).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(values, expected)


def test_the_second_call_of_a_shared_layer():
    x = keras.Input((3,), name="data")
    shared = keras.layers.Dense(3, name="ip")
    model = keras.Model(x, shared(shared(x)))
    batch = np.ones((1, 3), "float32")
    second = blob_values(model, Blob("ip", (0, 1), use=1), batch)
    np.testing.assert_allclose(second, model.predict_on_batch(batch), rtol=1e-6)


def test_one_of_several_outputs():
    class Halves(keras.layers.Layer):
        def call(self, x):
            return x[:, :2], x[:, 2:]

    x = keras.Input((4,), name="data")
    first, second = Halves(name="slice")(x)
    model = keras.Model(x, [first, second])
    batch = np.arange(4, dtype="float32")[None]
    values = blob_values(model, Blob("slice", (0, 1), output=1), batch)
    np.testing.assert_array_equal(values, [[2, 3]])


def test_flattened_values_get_caffes_order():
    caffe = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    other = np.arange(2 * 6).reshape(2, 6) + 1000
    lying = np.concatenate([caffe.transpose(0, 2, 3, 1).reshape(2, -1), other], axis=1)
    order = (((3, 4, 5), (1, 2, 0)), ((6,), (0,)))
    values = Blob("flatten", (0, 1), order=order).in_caffes_order(lying)
    expected = np.concatenate([caffe.reshape(2, -1), other], axis=1)
    np.testing.assert_array_equal(values, expected)


def test_order_along_another_axis():
    caffe = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    lying = caffe.transpose(1, 0, 2).reshape(6, 4)
    blob = Blob("x", (0, 1), order=(((2, 3), (1, 0)),), order_axis=0)
    np.testing.assert_array_equal(blob.in_caffes_order(lying), caffe.reshape(6, 4))


def test_a_blob_without_axes_is_repeated_for_the_batch():
    repeated = np.array([0.5, 0.5], "float32")
    assert Blob("loss", ()).in_caffes_order(repeated) == 0.5
