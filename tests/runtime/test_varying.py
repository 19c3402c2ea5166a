"""Labels of different sizes, through fit() and as JAX gets them."""

import keras
import numpy as np
from keras import ops

from caffe2k.runtime import varying


@keras.saving.register_keras_serializable(package="test_varying")
class Count(keras.layers.Layer):
    """Adds the number of the rows that are not -1 to the loss."""

    def call(self, inputs):
        x, label = inputs
        rows = ops.reshape(label, (-1, 8))
        self.add_loss(ops.sum(ops.cast(rows[:, 0] >= 0, "float32")) + 0 * ops.sum(x))
        return ops.sum(x, axis=1)

    def compute_output_shape(self, shapes):
        return shapes[0][:1]


def batches():
    rng = np.random.default_rng(0)
    for rows in (3, 3, 5, 2, 9, 1, 3):
        label = np.zeros((1, rows, 8, 1), "float32")
        yield ({"x": rng.normal(size=(2, 4)).astype("float32"), "label": label},)


def test_fit_takes_any_size():
    x, label = keras.Input((4,), name="x"), keras.Input((None, 8, 1), name="label")
    model = keras.Model(
        {"x": x, "label": label}, Count()([keras.layers.Dense(2)(x), label])
    )
    model.compile("sgd")
    losses = []
    log = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, l: losses.append(l))
    data = varying.any_sizes(batches(), {"label": 1})
    settings = {"shuffle": False, "verbose": 0, "callbacks": [log]}
    model.fit(data, steps_per_epoch=1, epochs=7, **settings)
    assert [entry["loss"] for entry in losses] == [3, 3, 5, 2, 9, 1, 3]


def test_rows_are_added_for_jax():
    (x, *_), *_ = varying._padded(batches(), {"label": 1})
    assert x["label"].shape == (1, 4, 8, 1)
    assert (x["label"][0, :3] == 0).all()
    assert (x["label"][0, 3:] == -1).all()
    sizes = [x["label"].shape[1] for (x,) in varying._padded(batches(), {"label": 1})]
    assert sizes == [4, 4, 8, 2, 16, 1, 4]
