"""StopGradient passes values and no gradient."""

import keras
import numpy as np
import tensorflow as tf

from caffe2k.runtime.gradients import StopGradient


def test_values_pass_and_gradients_do_not():
    x = tf.constant([[1.0, -2.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = StopGradient()(x) * 3 + x
    np.testing.assert_allclose(y, [[4.0, -8.0]])
    np.testing.assert_allclose(tape.gradient(y, x), [[1.0, 1.0]])


def test_it_survives_serialization():
    model = keras.Sequential([keras.Input((2,)), StopGradient(name="s")])
    again = keras.Sequential.from_config(model.get_config())
    assert isinstance(again.get_layer("s"), StopGradient)
