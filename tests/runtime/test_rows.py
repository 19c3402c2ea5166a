"""BatchReindex, Filter and Parameter: against Caffe's results, and by hand."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.endpoint import WeightedOutput
from caffe2k.runtime.parameter import Parameter
from caffe2k.runtime.rows import BatchReindex, Filter

X = np.random.default_rng(1).normal(size=(4, 3, 2)).astype("float32")


def test_reindex_cases(caffe_case, check):
    case = caffe_case("batch_reindex")
    scaled = case["in/data"] * case["param/pre/0"].reshape(1, -1, 1, 1)
    check(BatchReindex()([scaled, case["in/i"]]), case["out/out"])


def test_reindex_adds_up_the_gradients_of_a_sample(check, vjp):
    indices = np.array([3, 0, 3, 3, 1], "float32")
    dy = np.random.default_rng(2).normal(size=(5, 3, 2)).astype("float32")
    layer = BatchReindex()
    out, (dx, di) = vjp(lambda x, i: layer([x, i]), [X, indices], dy)
    check(out, X[[3, 0, 3, 3, 1]], 0)
    check(dx, [dy[1], dy[4], 0 * dy[0], dy[0] + dy[2] + dy[3]], 1e-6)
    assert not di.any()


def test_indices_are_exact_in_half_precision():
    x = np.arange(3001, dtype="float32").reshape(-1, 1)
    layer = BatchReindex(dtype="mixed_float16")
    out = layer([x, np.array([2049, 3000], "float32")])
    assert keras.ops.convert_to_numpy(out).ravel().tolist() == [2049, 3000]


def test_filter_case(caffe_case, check):
    case = caffe_case("filter")
    scaled = case["in/data"] * case["param/pre/0"].reshape(1, -1, 1, 1)
    check(Filter()([scaled, case["in/sel"]]), case["out/out"])


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1, 1)])
def test_filter_takes_several(shape, check, vjp):
    selector = np.array([0, 2, 0, -1], "float32").reshape(shape)
    other = np.arange(4, dtype="float32")
    layer = Filter()
    dy = [np.ones((2, 3, 2), "float32"), np.array([5, 7], "float32")]
    (first, second), (dx, dother, _) = vjp(
        lambda *tensors: layer(list(tensors)), [X, other, selector], dy
    )
    check(first, X[[1, 3]], 0)
    check(second, [1, 3], 0)
    check(dother, [0, 5, 0, 7], 0)
    check(dx, np.stack([0 * X[0], 1 + 0 * X[0]] * 2), 0)


def test_filter_may_leave_nothing():
    out = Filter()([X, np.zeros(4, "float32")])
    assert tuple(out.shape) == (0, 3, 2)


@pytest.mark.parametrize("computed", [False, True])
def test_filter_in_training(computed, check):
    x, selector = keras.Input((2,)), keras.Input((1,))
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    scores = dense(x)
    chosen = keras.layers.Multiply()([scores, selector]) if computed else selector
    model = keras.Model([x, selector], WeightedOutput(1)(Filter()([scores, chosen])))
    model.compile(keras.optimizers.SGD(1.0))
    data = np.array([[1, 2], [30, 40], [5, 6], [70, 80]], "float32")
    kept = np.array([[1], [0], [2], [0]], "float32")
    model.fit([data, kept], batch_size=4, verbose=0)
    check(dense.kernel, [[1 - (1 + 5)], [1 - (2 + 6)]], 1e-6)
    assert model.predict([data, kept], verbose=0).shape == (2, 1)


def test_parameter_is_its_weight(check, vjp):
    layer = Parameter([2, 3])
    layer.build((None, 5))
    value = np.arange(6, dtype="float32").reshape(2, 3)
    layer.set_weights([value])
    x, dy = np.ones((4, 5), "float32"), np.full((2, 3), 2, "float32")
    out, (dx, dvalue) = vjp(layer, [x], dy, layer.weights)
    check(out, value, 0)
    check(dvalue, dy, 0)
    assert not dx.any()
    assert Parameter([2, 3])(keras.Input((5,))).shape == (2, 3)


def test_save(survives):
    x, indices = keras.Input((3, 2)), keras.Input(())
    reindexed = BatchReindex()([x, indices])
    left = reindexed
    # JAX can't compile an output whose number of samples depends on data.
    if keras.backend.backend() != "jax":
        left = Filter()([reindexed, indices])
    assert reindexed.shape == left.shape == (None, 3, 2)
    outputs = {"left": left, "value": Parameter([3, 2], "ones")(x)}
    model = keras.Model([x, indices], outputs)
    assert model.count_params() == 6
    survives(model, [X, np.array([1, 2, 0, 3], "float32")])
