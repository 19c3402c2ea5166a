"""DummyData: every filler's distribution, and what is refused."""

import math

import numpy as np
import pytest

from caffe2k.runtime.dummy_data import DummyReader, fill


def values(shape, **filler):
    array = fill(shape, filler, np.random.default_rng(0))
    assert array.shape == shape
    assert array.dtype == np.float32
    return array


def test_zeros_unless_told():
    batch = next(iter(DummyReader(["a", "b"], [(2, 3)])))
    assert {top: array.shape for top, array in batch.items()} == dict.fromkeys(
        "ab", (2, 3)
    )
    assert not batch["a"].any()


def test_one_filler_and_shape_for_all_or_one_a_top():
    fillers = [{"type": "constant", "value": 0.5}, {"value": 3}]
    batch = next(iter(DummyReader(["a", "b"], [(2, 2), (4,)], fillers)))
    assert batch["a"].tolist() == [[0.5, 0.5]] * 2
    assert batch["b"].tolist() == [3] * 4


def test_random_values_are_new_in_each_batch():
    batches = iter(DummyReader(["a"], [(100,)], [{"type": "gaussian"}]))
    assert (next(batches)["a"] != next(batches)["a"]).all()


def test_uniform():
    array = values((10000,), type="uniform", min=2, max=4)
    assert 2 <= array.min() < 2.01
    assert 3.99 < array.max() <= 4
    assert abs(array.mean() - 3) < 0.02


def test_gaussian():
    array = values((10000,), type="gaussian", mean=3, std=2)
    assert abs(array.mean() - 3) < 0.1
    assert abs(array.std() - 2) < 0.1


def test_sparse_gaussian():
    array = values((50, 400), type="gaussian", sparse=10)
    assert abs((array != 0).mean() - 10 / 50) < 0.01


def test_positive_unitball():
    array = values((3, 4, 5), type="positive_unitball")
    assert array.min() > 0
    np.testing.assert_allclose(array.sum(axis=(1, 2)), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("norm", "fan"), [("FAN_IN", 50), ("FAN_OUT", 800), ("AVERAGE", 425)]
)
def test_xavier_and_msra(norm, fan):
    shape = (80, 5, 10)
    array = values(shape, type="xavier", variance_norm=norm)
    assert abs(array).max() == pytest.approx(math.sqrt(3 / fan), rel=0.01)
    array = values(shape, type="msra", variance_norm=norm)
    assert array.std() == pytest.approx(math.sqrt(2 / fan), rel=0.05)


def test_bilinear():
    array = values((2, 1, 4, 4), type="bilinear")
    ramp = [0.25, 0.75, 0.75, 0.25]
    np.testing.assert_allclose(array[1, 0], np.outer(ramp, ramp))
    with pytest.raises(ValueError, match="four axes and a square"):
        values((1, 1, 2, 3), type="bilinear")


def test_what_is_refused():
    with pytest.raises(ValueError, match="unknown filler 'nonsense'"):
        DummyReader(["a"], [(1,)], [{"type": "nonsense"}])
    with pytest.raises(ValueError, match="2 shape for 3 tops"):
        DummyReader(["a", "b", "c"], [(1,), (2,)])
