"""Cutting, reshaping and permuting with the batch axis."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.shaping import ReshapeAll, Slice, Transpose

CASES = {
    "slice_points": (Slice(1, [1, 4]), "xyz"),
    "slice_axis2": (Slice(2, [2]), "xy"),
    "reshape_axis": (ReshapeAll([0, 2, -1, 4]), ["out"]),
    "reshape_flat": (ReshapeAll([0, -1]), ["out"]),
    "ssd_permute": (Transpose([0, 2, 3, 1]), ["out"]),
}


@pytest.mark.parametrize("name", CASES)
def test_caffe_case(name, caffe_case, check, vjp):
    layer, tops = CASES[name]
    case = caffe_case(name)
    douts = [case.get(f"dout/{top}", np.ones_like(case[f"out/{top}"])) for top in tops]
    outs, (din,) = vjp(layer, [case["in/data"]], douts if len(tops) > 1 else douts[0])
    for top, out in zip(tops, outs if len(tops) > 1 else [outs], strict=True):
        check(out, case[f"out/{top}"])
    if "din/data" in case:
        check(din, case["din/data"], 1e-4)


@pytest.mark.parametrize(
    ("layer", "known", "unknown"),
    [
        (Slice(0, [2, 3]), [(2, 4, 6), (1, 4, 6), (9, 4, 6)], [2, 1, None]),
        (Slice(-1, [5]), [(12, 4, 5), (12, 4, 1)], [None, None]),
        (Slice(1, []), [(12, 4, 6)], [None]),
        (ReshapeAll([-1, 24]), (12, 24), [None]),
        (ReshapeAll([None, 8, -1]), (12, 8, 3), [None]),
        (ReshapeAll([3, -1, 0]), (3, 16, 6), [3]),
        (ReshapeAll([3, 0, 24]), (3, 4, 24), [3]),
        (Transpose([1, 2, 0]), (4, 6, 12), [4]),
    ],
    ids=str,
)
def test_shapes(layer, known, unknown):
    x = np.arange(12 * 4 * 6, dtype="float32").reshape(12, 4, 6)
    out, symbolic = layer(x), layer(keras.Input((4, 6)))
    if not isinstance(known, list):
        out, symbolic, known = [out], [symbolic], [known]
    assert [tuple(y.shape) for y in out] == known
    assert [y.shape[0] for y in symbolic] == unknown
    for wanted, y in zip(known, symbolic, strict=True):
        assert all(a in (None, b) for a, b in zip(y.shape, wanted, strict=True))


def test_an_unknown_batch_is_only_copied():
    assert ReshapeAll([0, -1]).compute_output_shape((None, 4, 6)) == (None, 24)
    assert ReshapeAll([-1, 0, 3]).compute_output_shape((None, 4, 6)) == (None, 4, 3)
    assert ReshapeAll([-1, 2, 12]).compute_output_shape((5, 4, 6)) == (5, 2, 12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Slice(1, [2, 2]),
        lambda: Slice(1, [0]),
        lambda: Slice(1, [3])(np.zeros((2, 3))),
        lambda: ReshapeAll([-1, -1]),
        lambda: ReshapeAll([2, 3, 0])(np.zeros((2, 3))),
    ],
)
def test_refuses(call):
    with pytest.raises(ValueError, match=r"points|target_shape"):
        call()


def test_fit_and_save(survives):
    inputs = keras.Input((3, 4))
    first, rest = Slice(1, [1])(keras.layers.Dense(4)(inputs))
    x = keras.layers.Dense(4)(Transpose([1, 0, 2])(rest))
    x = ReshapeAll([0, -1])(Transpose([1, 0, 2])(x))
    outputs = keras.layers.Concatenate()([x, ReshapeAll([None, 4])(first)])
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    data = np.random.default_rng(0).normal(size=(7, 3, 4)).astype("float32")
    # Batches of 4 and 3: the compiled step sees an unknown batch size.
    history = model.fit(data, np.zeros((7, 12)), batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    survives(model, data)
