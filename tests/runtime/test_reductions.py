"""Reduction and ArgMax: against Caffe's results, and against its loops in NumPy."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.reductions import ArgMax, FlatArgMax, Reduction
from tests.runtime.reduction_rules import argmax, reduce

REDUCTIONS = {
    "reduction_mean_all": Reduction([0, 1, 2, 3], "MEAN"),
    "reduction_sum_axis2": Reduction([2, 3]),
    "reduction_sumsq_axis1": Reduction([1, 2, 3], "SUMSQ", 0.5),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_case(name, caffe_case, check, vjp):
    case = caffe_case(name)
    top, dout = (np.atleast_1d(case[key]) for key in ("out/out", "dout/out"))
    out, (din,) = vjp(REDUCTIONS[name], [case["in/data"]], dout)
    check(out, top)
    if "din/data" in case:
        check(din, case["din/data"], 1e-4)


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (1, 2, 3), (1, 2), (3,), (0, 2)])
def test_reduction_rule(axes, operation, check, vjp):
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype("float32")
    x[0, 0, 0, 0] = 0
    shape = [size for axis, size in enumerate(x.shape) if axis not in axes] or [1]
    dy = np.random.default_rng(2).normal(size=shape).astype("float32")
    top, bottom_diff = reduce(x, dy, axes, operation, -1.5)
    layer = Reduction(axes, operation, -1.5)
    out, (din,) = vjp(layer, [x], dy)
    check(out, top)
    check(din, bottom_diff, 1e-4)
    assert layer.compute_output_shape(x.shape) == out.shape


def test_unknown_operation():
    with pytest.raises(ValueError, match="`operation` must be one of"):
        Reduction([1], "MAX")


@pytest.mark.parametrize("out_max_val", [False, True])
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_argmax_rule(top_k, out_max_val, check):
    # Few values, so that ties are everywhere.
    x = np.random.default_rng(3).integers(-1, 2, (2, 3, 4, 5)).astype("float32")
    for axis in range(4):
        if top_k > x.shape[axis]:
            continue
        layer = ArgMax(axis, top_k, out_max_val)
        out = layer(x)
        check(out, argmax(x, axis, top_k, out_max_val), 0)
        assert layer.compute_output_shape(x.shape) == tuple(out.shape)
    flat = x.reshape(2, -1)
    positions, values = (argmax(flat, 1, top_k, wanted) for wanted in (False, True))
    parts = [positions, values] if out_max_val else [positions]
    layer = FlatArgMax(top_k, out_max_val)
    check(layer(x), np.stack(parts, 1), 0)
    assert layer.compute_output_shape(x.shape) == (2, len(parts), top_k)


def test_argmax_cases(caffe_case, check):
    case = caffe_case("argmax_axis1_spatial")
    check(ArgMax(1)(case["in/data"]), case["out/out"], 0)
    case = caffe_case("argmax")
    check(FlatArgMax()(case["in/data"]), case["out/out"], 0)
    case = caffe_case("argmax_top3_val")
    check(FlatArgMax(3, True)(case["in/data"]), case["out/out"])


def test_positions_are_exact_in_half_precision():
    x = np.zeros((1, 3001), "float32")
    x[0, 3000] = 1
    for layer in (ArgMax(dtype="float16"), FlatArgMax(dtype="float16")):
        assert keras.ops.convert_to_numpy(layer(x)).ravel().tolist() == [3000]
    assert ArgMax(dtype="float16")(keras.Input((5,))).dtype == "float32"


def test_fit_and_save(survives):
    inputs = keras.Input((4, 5, 3))
    outputs = {
        "mean": Reduction([1, 2], "MEAN", name="mean")(inputs),
        "best": ArgMax(1, 2, name="best")(inputs),
        "flat": FlatArgMax(2, True, name="flat")(inputs),
    }
    model = keras.Model(inputs, outputs)
    data = np.random.default_rng(0).normal(size=(6, 4, 5, 3)).astype("float32")
    assert {k: v.shape for k, v in outputs.items()} == {
        "mean": (None, 3),
        "best": (None, 2, 5, 3),
        "flat": (None, 2, 2),
    }
    survives(model, data)
