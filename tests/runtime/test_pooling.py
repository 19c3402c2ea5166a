"""Caffe's pooling: against Caffe's results and a literal NumPy reading of its rule."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.pooling import (
    AveragePooling2D,
    MaxPooling2D,
    MaxPooling2DWithMask,
    StochasticPooling2D,
)

CASES = {
    "pool_max_floor": (MaxPooling2D, {"ceil_mode": False}, 3, 2),
    "pool_max_global": (MaxPooling2D, {}, None, 1),
    "pool_max_k2_s2_even": (MaxPooling2D, {}, 2, 2),
    "pool_max_k2_s2_odd": (MaxPooling2D, {}, 2, 2),
    "pool_max_k3_s2_ceil": (MaxPooling2D, {}, 3, 2),
    "pool_ave_floor": (AveragePooling2D, {"ceil_mode": False}, 3, 2),
    "pool_ave_global": (AveragePooling2D, {}, None, 1),
    "pool_ave_k2_s2_even": (AveragePooling2D, {}, 2, 2),
    "pool_ave_k2_s2_odd": (AveragePooling2D, {}, 2, 2),
    "pool_ave_k3_s2_pad1": (AveragePooling2D, {"padding": 1}, 3, 2),
    "pool_ave_k3_s2_pad1_even": (AveragePooling2D, {"padding": 1}, 3, 2),
    "pool_ave_k5_s3_pad2": (AveragePooling2D, {"padding": 2}, 5, 3),
}
FORMATS = {"channels_last": (0, 2, 3, 1), "channels_first": (0, 1, 2, 3)}
LOWEST = np.float32(-3.4028235e38)


def windows(extent, size, stride, pad, ceil_mode, any_pad):
    """(start, end in the padded extent) of each window, as pooling_layer.cpp has it."""
    steps = (extent + 2 * pad - size) / stride
    count = int(np.ceil(steps) if ceil_mode else np.floor(steps)) + 1
    if any_pad and (count - 1) * stride >= extent + pad:
        count -= 1
    starts = [i * stride - pad for i in range(count)]
    return [(s, min(s + size, extent + pad)) for s in starts]


def caffe_pool(x, top_diff_of, kind, size, stride, pad, ceil_mode):
    """Pools planes (H, W) one by one: (top, mask, bottom_diff)."""
    height, width = x.shape[-2:]
    rows, columns = (
        windows(x.shape[-2 + a], size[a], stride[a], pad[a], ceil_mode, any(pad))
        for a in (0, 1)
    )
    top = np.zeros((*x.shape[:-2], len(rows), len(columns)), "float32")
    mask = np.full_like(top, -1)
    if kind == "max":
        top[:] = LOWEST
    top_diff = top_diff_of(top)
    bottom_diff = np.zeros_like(x)
    for plane in np.ndindex(x.shape[:-2]):
        for i, (h0, h1) in enumerate(rows):
            for j, (w0, w1) in enumerate(columns):
                at = (*plane, i, j)
                area = np.float32((h1 - h0) * (w1 - w0))
                cells = [
                    (*plane, h, w)
                    for h in range(max(h0, 0), min(h1, height))
                    for w in range(max(w0, 0), min(w1, width))
                ]
                if kind == "ave":
                    with np.errstate(divide="ignore", invalid="ignore"):
                        top[at] = sum(x[c] for c in cells) / area
                    for c in cells:
                        bottom_diff[c] += top_diff[at] / area
                    continue
                for c in cells:
                    if x[c] > top[at]:
                        top[at] = x[c]
                        mask[at] = c[-2] * width + c[-1]
                if mask[at] >= 0:
                    h, w = divmod(int(mask[at]), width)
                    bottom_diff[(*plane, h, w)] += top_diff[at]
    return top, mask, bottom_diff


def random_diff(top):
    return np.random.default_rng(5).normal(size=top.shape).astype("float32")


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_caffe_case(name, data_format, caffe_case, check, vjp):
    layer_class, options, size, stride = CASES[name]
    case, order = caffe_case(name), FORMATS[data_format]
    size = size or case["in/data"].shape[2:]
    layer = layer_class(size, stride, data_format=data_format, **options)
    back = np.argsort(order)
    x, dout = (case[k].transpose(order) for k in ("in/data", "dout/out"))
    out, (din,) = vjp(layer, [x], dout)
    check(out.transpose(back), case["out/out"])
    check(din.transpose(back), case["din/data"], 1e-4)
    assert layer.compute_output_shape(x.shape) == out.shape


@pytest.mark.parametrize("data_format", FORMATS)
def test_mask_case(data_format, caffe_case, check):
    case, order = caffe_case("pool_max_with_mask"), FORMATS[data_format]
    layer = MaxPooling2DWithMask(2, 2, data_format=data_format)
    pooled, mask = layer(case["in/data"].transpose(order))
    check(pooled, case["out/out"].transpose(order))
    check(mask, case["out/mask"].transpose(order), 0)


def settings():
    """A spread of sizes, kernels, strides and pads, with kernel < stride as well."""
    rng = np.random.default_rng(0)
    result = [
        ((6, 7), (1, 1), (2, 2), (0, 0), True),
        ((2, 2), (3, 3), (2, 2), (0, 0), True),
        # The pad of one axis lets the empty last window of the other be dropped.
        ((5, 6), (2, 1), (2, 2), (1, 0), True),
    ]
    while len(result) < 40:
        size = rng.integers(1, 5, 2)
        pad = rng.integers(0, size) * rng.integers(0, 2)
        extent = rng.integers(size, 10)
        stride = rng.integers(1, 4, 2)
        values = [tuple(map(int, v)) for v in (extent, size, stride, pad)]
        result.append((*values, bool(rng.integers(0, 2))))
    return result


@pytest.mark.parametrize(("extent", "size", "stride", "pad", "ceil_mode"), settings())
def test_rule(extent, size, stride, pad, ceil_mode, check, vjp):
    # Values from 0 to 2 make ties in almost every window.
    x = np.random.default_rng(1).integers(0, 3, (2, 2, *extent)).astype("float32")
    options = {"ceil_mode": ceil_mode, "data_format": "channels_first"}
    rule = (size, stride, pad, ceil_mode)

    top, mask, bottom_diff = caffe_pool(x, random_diff, "max", *rule)
    out, (din,) = vjp(MaxPooling2D(size, stride, pad, **options), [x], random_diff(top))
    check(out, top)
    check(din, bottom_diff, 1e-4)

    masked = MaxPooling2DWithMask(size, stride, pad, **options)
    (out, positions), (din,) = vjp(masked, [x], [random_diff(top), np.zeros_like(mask)])
    check(out, top)
    check(positions, mask, 0)
    check(din, bottom_diff, 1e-4)

    top, _, bottom_diff = caffe_pool(x, random_diff, "ave", *rule)
    out, (din,) = vjp(
        AveragePooling2D(size, stride, pad, **options), [x], random_diff(top)
    )
    assert (np.isnan(out) == np.isnan(top)).all()
    check(np.nan_to_num(out), np.nan_to_num(top))
    check(din, bottom_diff, 1e-4)


def same_padding(extent, size, stride):
    """(number of windows, padding in front) of Keras's padding="same"."""
    count = -(-extent // stride)
    return count, max((count - 1) * stride + size - extent, 0) // 2


@pytest.mark.parametrize(("extent", "size", "stride", "pad", "ceil_mode"), settings())
def test_stock_layers_where_they_are_equal(
    extent, size, stride, pad, ceil_mode, check, vjp
):
    """What the translator relies on: with no window padded or clipped both stock
    layers are equal, and max pooling also where "same" pads in front as Caffe does."""
    axes = list(zip(extent, size, stride, pad, strict=True))
    spans = [windows(*axis, ceil_mode, any(pad)) for axis in axes]
    whole = [
        p == 0 and span[-1][0] + k <= e
        for span, (e, k, _, p) in zip(spans, axes, strict=True)
    ]
    same = [
        same_padding(e, k, s) == (len(span), p)
        for span, (e, k, s, p) in zip(spans, axes, strict=True)
    ]
    x = np.random.default_rng(1).integers(0, 3, (2, *extent, 2)).astype("float32")
    pairs = []
    if all(whole):
        pairs.append((MaxPooling2D, keras.layers.MaxPooling2D, "valid"))
        pairs.append((AveragePooling2D, keras.layers.AveragePooling2D, "valid"))
    if all(same):
        pairs.append((MaxPooling2D, keras.layers.MaxPooling2D, "same"))
    for ours, stock, padding in pairs:
        expected = vjp(ours(size, stride, pad, ceil_mode), [x])
        actual = vjp(stock(size, stride, padding), [x])
        check(actual[0], expected[0], 0)
        check(actual[1][0], expected[1][0])


def test_stochastic_inference(check):
    x = np.array([[1, 3, 0], [0, 4, 0], [0, 0, 0]], "float32").reshape(1, 3, 3, 1)
    out = StochasticPooling2D(2, 2)(x)
    check(out, np.array([26 / 8, 0, 0, 0], "float32").reshape(1, 2, 2, 1))


def test_stochastic_training(vjp):
    x = np.tile(np.array([[1, 3], [0, 4]], "float32"), (4000, 1, 1))[..., None]
    layer = StochasticPooling2D(2, 2, seed=7)
    out, (din,) = vjp(lambda x: layer(x, training=True), [x])
    shares = [(out == value).mean() for value in (1, 3, 0, 4)]
    np.testing.assert_allclose(shares, [1 / 8, 3 / 8, 0, 4 / 8], atol=0.03)
    np.testing.assert_array_equal(din == 1, x == out)


def test_stochastic_training_with_zeros():
    layer = StochasticPooling2D(2, 2)
    out = layer(np.zeros((2, 3, 3, 1), "float32"), training=True)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(out), 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"pool_size": 0},
        {"pool_size": 2, "padding": 2},
        {"pool_size": 2, "strides": (1,)},
    ],
)
def test_refuses(arguments):
    with pytest.raises(ValueError, match=r"pool_size|padding|strides"):
        MaxPooling2D(**arguments)


def test_refuses_a_window_that_does_not_fit():
    with pytest.raises(ValueError, match="does not fit"):
        MaxPooling2D(5)(np.zeros((1, 3, 3, 1), "float32"))
    with pytest.raises(ValueError, match="known height and width"):
        MaxPooling2D(5)(keras.Input((None, None, 1)))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives):
    common = {"dtype": policy}
    x = inputs = keras.Input((9, 9, 2))
    x = keras.layers.Conv2D(3, 1, **common)(x)
    x = MaxPooling2D(3, 2, 1, **common)(x)
    x = AveragePooling2D((2, 3), 1, (1, 2), ceil_mode=False, **common)(x)
    x, mask = MaxPooling2DWithMask(2, **common)(x)
    x = StochasticPooling2D(2, 2, seed=1, **common)(keras.ops.relu(x))
    outputs = {"x": keras.layers.Flatten(name="x")(x), "mask": mask}
    model = keras.Model(inputs, outputs)
    data = np.random.default_rng(0).normal(size=(6, 9, 9, 2)).astype("float32")
    targets = {key: np.zeros((6, *value.shape[1:])) for key, value in outputs.items()}
    model.compile("sgd", {"x": "mse", "mask": None}, jit_compile="auto")
    history = model.fit(data, targets, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    survives(model, data)
