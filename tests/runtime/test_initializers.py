"""Caffe's fillers: their sums, sparsity and coefficients in Keras's layouts."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.initializers import Bilinear, PositiveUnitball, SparseGaussian


@pytest.mark.parametrize(
    ("shape", "axis", "others"),
    [
        ((30, 7), -1, 0),
        ((3, 3, 4, 5), -1, (0, 1, 2)),
        ((6, 9), 0, 1),
        ((3, 3, 4, 2), (2, 3), (0, 1)),
        ((5,), 0, ()),
    ],
)
def test_positive_unitball(shape, axis, others):
    values = keras.ops.convert_to_numpy(PositiveUnitball(axis)(shape))
    assert values.shape == shape
    assert (values >= 0).all()
    np.testing.assert_allclose(values.sum(others), 1, rtol=1e-5)


def test_sparse_gaussian():
    filler = SparseGaussian(mean=1.0, std=0.5, sparse=15, seed=3)
    values = keras.ops.convert_to_numpy(filler((400, 60)))
    kept = values[values != 0]
    assert kept.size / values.size == pytest.approx(15 / 60, abs=0.02)
    assert kept.mean() == pytest.approx(1, abs=0.03)
    assert kept.std() == pytest.approx(0.5, abs=0.03)
    per_input = SparseGaussian(sparse=15, axis=0)((400, 60))
    share = np.count_nonzero(keras.ops.convert_to_numpy(per_input)) / values.size
    assert share == pytest.approx(15 / 400, abs=0.01)
    assert not np.any(keras.ops.convert_to_numpy(SparseGaussian()((4, 5))))


def test_sparse_gaussian_refuses():
    with pytest.raises(ValueError, match="`sparse`"):
        SparseGaussian(sparse=6)((10, 5))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_bilinear_rule(size):
    values = keras.ops.convert_to_numpy(Bilinear()((size, size, 2, 3)))
    f, width = np.ceil(size / 2), size
    c = (width - 1) / (2 * f)
    for y, x, i, o in np.ndindex(values.shape):
        expected = (1 - abs(x / f - c)) * (1 - abs(y / f - c))
        assert values[y, x, i, o] == pytest.approx(expected, abs=1e-6)


def test_bilinear_case(caffe_case, check):
    blob = caffe_case("deconv_bilinear_filler")["param/op/0"]
    check(Bilinear()((4, 4, 1, 3)), blob.transpose(2, 3, 1, 0))


@pytest.mark.parametrize("shape", [(3, 3, 2), (3, 4, 1, 1)])
def test_bilinear_refuses(shape):
    with pytest.raises(ValueError, match="square kernel"):
        Bilinear()(shape)


@pytest.mark.parametrize("shape", [(3, 3, 8, 12), (40, 30)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_variance_scaling_is_xavier_and_msra(mode, shape):
    """filler.hpp's fans, from Caffe's blob (out, in, ...), and their distributions."""
    blob = (shape[-1], shape[-2], *shape[:-2])
    fans = {"fan_in": np.prod(blob) / blob[0], "fan_out": np.prod(blob) / blob[1]}
    n = fans.get(mode, sum(fans.values()) / 2)
    scaling = keras.initializers.VarianceScaling
    xavier = scaling(1.0, mode, "uniform", seed=1)(shape)
    xavier = np.abs(keras.ops.convert_to_numpy(xavier))
    assert xavier.max() == pytest.approx(np.sqrt(3 / n), rel=0.02)
    assert xavier.max() <= np.sqrt(3 / n)
    msra = scaling(2.0, mode, "untruncated_normal", seed=1)(shape)
    msra = keras.ops.convert_to_numpy(msra)
    assert msra.std() == pytest.approx(np.sqrt(2 / n), rel=0.08)


@pytest.mark.parametrize(
    "filler",
    [PositiveUnitball((2, 3), seed=1), SparseGaussian(1.0, 2.0, 3, 0, 5), Bilinear()],
    ids=lambda filler: type(filler).__name__,
)
def test_in_a_layer_and_serialized(filler, survives):
    again = keras.initializers.get(keras.initializers.serialize(filler))
    assert type(again) is type(filler)
    assert {**again.get_config(), "axis": 0} == {**filler.get_config(), "axis": 0}
    layer = keras.layers.Conv2D(4, 3, kernel_initializer=filler)
    model = keras.Sequential([keras.Input((5, 5, 3)), layer])
    survives(model, np.ones((2, 5, 5, 3), "float32"))
