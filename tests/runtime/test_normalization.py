"""Caffe's LRN and BatchNorm: against Caffe's results and NumPy readings of the rule."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.normalization import LRN, BatchNorm

RNG = np.random.default_rng(8)
FORMATS = {-1: (0, 2, 3, 1), 1: (0, 1, 2, 3)}
LRN_CASES = {
    "lrn_across_default": {"alpha": 0.0001},
    "lrn_within": {"local_size": 3, "alpha": 0.9, "norm_region": "WITHIN_CHANNEL"},
}
BATCH_NORM_CASES = {
    "batchnorm_test": {},
    "batchnorm_test_eps": {"epsilon": 0.01},
    "batchnorm_train": {},
    "batchnorm_train_global_stats": {"use_global_stats": True},
}


@pytest.mark.parametrize("axis", FORMATS)
@pytest.mark.parametrize("name", LRN_CASES)
def test_lrn_case(name, axis, caffe_case, check, vjp):
    case, order = caffe_case(name), FORMATS[axis]
    layer = LRN(axis=axis, **LRN_CASES[name])
    data, dout = (case[k].transpose(order) for k in ("in/data", "dout/out"))
    out, (din,) = vjp(layer, [data], dout)
    check(out, case["out/out"].transpose(order))
    check(din, case["din/data"].transpose(order), 1e-4)


def lrn_rule(x, size, alpha, beta, k, within):
    """lrn_layer.cpp for one value after the other of (N, C, H, W)."""
    radius, out = size // 2, np.empty_like(x)
    for n, c, h, w in np.ndindex(x.shape):

        def near(i):
            return slice(max(i - radius, 0), i + radius + 1)

        if within:
            neighbours, share, shift = x[n, c, near(h), near(w)], size**2, 1
        else:
            neighbours, share, shift = x[n, near(c), h, w], size, k
        scale = shift + alpha / share * (neighbours**2).sum()
        out[n, c, h, w] = x[n, c, h, w] * scale**-beta
    return out


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("plane", [(2, 4), (5, 3)])
def test_lrn_rule(plane, size, within, check):
    x = RNG.normal(0, 2, (2, 4, *plane)).astype("float32")
    layer = LRN(size, 0.7, 0.6, 2.0, ["ACROSS_CHANNELS", "WITHIN_CHANNEL"][within], 1)
    check(layer(x), lrn_rule(x, size, 0.7, 0.6, 2.0, within))


def test_lrn_refuses():
    with pytest.raises(ValueError, match="odd"):
        LRN(4)
    with pytest.raises(ValueError, match="BETWEEN"):
        LRN(norm_region="BETWEEN")
    with pytest.raises(ValueError, match="rank 4"):
        LRN(norm_region="WITHIN_CHANNEL")(np.zeros((1, 2, 3), "float32"))


@pytest.mark.parametrize("axis", FORMATS)
@pytest.mark.parametrize("name", BATCH_NORM_CASES)
def test_batch_norm_case(name, axis, caffe_case, check, vjp):
    case, order = caffe_case(name), FORMATS[axis]
    layer = BatchNorm(axis=axis, **BATCH_NORM_CASES[name])
    data, dout = (case[k].transpose(order) for k in ("in/data", "dout/out"))
    layer.build(data.shape)
    blobs = [case[f"param/bn/{i}"] for i in range(3)]
    training = str(case["phase"]) == "TRAIN"

    layer.set_weights(blobs)
    out, (din,) = vjp(lambda x: layer(x, training=training), [data], dout)
    check(out, case["out/out"].transpose(order))
    check(din, case["din/data"].transpose(order), 1e-4)

    layer.set_weights(blobs)
    layer(data, training=training)
    for i, weight in enumerate(layer.get_weights()):
        check(weight, case.get(f"after/bn/{i}", blobs[i]))


@pytest.mark.parametrize(("shape", "m"), [((4, 3), 4), ((2, 5, 3), 10), ((1, 3), 1)])
def test_running_statistics(shape, m, check):
    layer = BatchNorm(moving_average_fraction=0.9)
    mean, variance, factor = np.zeros(3), np.zeros(3), np.zeros(1)
    for _ in range(3):
        x = RNG.normal(2, 3, shape).astype("float32")
        layer(x, training=True)
        flat = x.reshape(m, 3)
        mean = 0.9 * mean + flat.mean(0)
        variance = 0.9 * variance + flat.var(0) * (m / (m - 1) if m > 1 else 1)
        factor = 0.9 * factor + 1
    for weight, expected in zip(
        layer.get_weights(), (mean, variance, factor), strict=True
    ):
        check(weight, expected)
    check(layer(x), (x - mean / factor) / np.sqrt(variance / factor + 1e-5))


def test_without_any_batch_the_statistics_are_zero(check):
    x = RNG.normal(size=(2, 3)).astype("float32")
    layer = BatchNorm(epsilon=0.25)
    check(layer(x), x / 0.5)
    layer.set_weights([np.ones(3), np.ones(3), np.zeros(1)])
    check(layer(x), x / 0.5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("use_global_stats", [False, True])
def test_fixed_statistics_ignore_the_phase(use_global_stats, training):
    layer = BatchNorm(use_global_stats=use_global_stats)
    layer(RNG.normal(size=(4, 3)).astype("float32"), training=training)
    assert layer.get_weights()[2] == (0 if use_global_stats else 1)


def test_statistics_are_not_trained_and_named():
    layer = BatchNorm()
    layer.build((None, 3))
    assert layer.trainable_weights == []
    assert [w.name for w in layer.weights] == ["mean", "variance", "scale_factor"]


def test_batch_norm_refuses_an_unknown_number_of_channels():
    with pytest.raises(ValueError, match="known size"):
        BatchNorm(axis=1)(keras.Input((None, 3)))
    with pytest.raises(ValueError, match="no axis 2"):
        BatchNorm(axis=2)(keras.Input((3,)))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives, check):
    model = keras.Sequential(
        [
            keras.Input((4, 5, 3)),
            keras.layers.Conv2D(4, 3, dtype=policy),
            BatchNorm(dtype=policy, name="bn"),
            LRN(3, norm_region="WITHIN_CHANNEL", dtype=policy),
            BatchNorm(use_global_stats=False, dtype=policy, name="always"),
            LRN(dtype=policy),
        ]
    )
    model.compile("sgd", "mse")
    x = RNG.normal(size=(7, 4, 5, 3)).astype("float32")
    y = np.zeros((7, 2, 3, 4), "float32")
    # Batches of 4 and 3: the compiled step sees an unknown batch size.
    history = model.fit(x, y, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    check(model.get_layer("bn").get_weights()[2], [1.999])
    model.evaluate(x, y, batch_size=7, verbose=0)
    check(model.get_layer("bn").get_weights()[2], [1.999])
    check(model.get_layer("always").get_weights()[2], [1.999 * 0.999 + 1])
    survives(model, x)
