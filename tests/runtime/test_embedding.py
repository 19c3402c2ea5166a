"""Caffe's Embed: against Caffe's results and a NumPy reading of embed_layer.cpp."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.embedding import Embedding

RNG = np.random.default_rng(7)


def test_case(caffe_case, check):
    case = caffe_case("embed")
    layer = Embedding(9, 5)
    layer.build((None,))
    layer.set_weights([case["param/op/0"], case["param/op/1"]])
    check(layer(case["in/data"]), case["out/out"])


@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 3, 2)])
def test_rule(shape, check, vjp):
    integers = RNG.integers(0, 7, shape).astype("float32")
    layer = Embedding(7, 3, bias_initializer="ones")
    layer.build((None,))
    vectors, bias = layer.get_weights()
    assert (bias == 1).all()
    dout = RNG.normal(0, 1, (*shape, 3)).astype("float32")
    out, (_, dvectors, dbias) = vjp(layer, [integers], dout, layer.trainable_variables)
    check(out, vectors[integers.astype(int)] + bias)
    expected = np.zeros_like(vectors)
    np.add.at(expected, integers.astype(int), dout)
    check(dvectors, expected, 1e-4)
    check(dbias, dout.reshape(-1, 3).sum(0), 1e-4)


def test_survives(survives):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Embedding(9, 5)(inputs))
    survives(model, RNG.integers(0, 9, (3, 4)).astype("float32"))
