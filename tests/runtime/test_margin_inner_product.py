"""SphereFace's MarginInnerProduct, against a NumPy reading of wy1iu/sphereface."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.margin_inner_product import MARGINS, MarginInnerProduct

RNG = np.random.default_rng(17)
LAMBDA = {"base": 20.0, "gamma": 0.5, "power": 1.5, "lambda_min": 2.0}


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def coefficients(kind, c):
    """The label's value by its cosine, and the gradient's parts along w and x."""
    s0 = np.sign(c)
    if kind == "DOUBLE":
        return 2 * s0 * c**2 - 1, 4 * s0 * c, 2 * s0 * c**2 + 1
    if kind == "TRIPLE":
        s1 = np.sign(abs(c) - 0.5)
        s2 = s0 * (1 + s1) - 2
        return s1 * (4 * c**3 - 3 * c) + s2, s1 * (12 * c**2 - 3), 8 * s1 * c**3 - s2
    s3 = s0 * np.sign(2 * c**2 - 1)
    s4 = 2 * s0 + s3 - 3
    return (
        s3 * (8 * c**4 - 8 * c**2 + 1) + s4,
        s3 * (32 * c**3 - 16 * c),
        s3 * (24 * c**4 - 8 * c**2 - 1) - s4,
    )


def rule(kind, x, labels, weight, dout, iteration):
    """margin_inner_product_layer.cpp: Forward_cpu and Backward_cpu."""
    share = LAMBDA["base"] * (1 + LAMBDA["gamma"] * iteration) ** -LAMBDA["power"]
    share = max(share, LAMBDA["lambda_min"])
    weight = weight / np.sqrt((weight**2).sum(1, keepdims=True))
    out = x @ weight.T
    dweight = dout.T @ x
    if kind == "SINGLE":
        return out, dout @ weight, dweight, share
    plain, dx = out.copy(), share / (1 + share) * (dout @ weight)
    for i, label in enumerate(labels.astype(int).ravel()):
        length = np.sqrt(x[i] @ x[i])
        value, along_w, along_x = coefficients(kind, plain[i, label] / length)
        along_x = -along_x / length
        norm = np.sqrt(along_w**2 + along_x**2)
        out[i, label] = length * value
        for j in range(len(weight)):
            direction = weight[j]
            if j == label:
                direction = (along_w * weight[j] + along_x * x[i]) / norm
            dx[i] += dout[i, j] / (1 + share) * direction
    return (out + share * plain) / (1 + share), dx, dweight, share


@pytest.mark.parametrize("kind", MARGINS)
@pytest.mark.parametrize("shape", [(6, 4), (5, 2, 1, 3)])
def test_step_after_step(kind, shape, check, vjp):
    layer = MarginInnerProduct(7, kind, iteration=3, return_lambda=True, **LAMBDA)
    layer.build([shape, shape[:1]])
    weight = normal(7, int(np.prod(shape[1:])))
    layer.set_weights([weight.T])
    for step in range(3):
        x = normal(*shape)
        labels = RNG.integers(0, 7, shape[:1]).astype("float32")
        dout = normal(shape[0], 7)
        flat = x.reshape(shape[0], -1).astype("float64")
        out, dx, dweight, share = rule(kind, flat, labels, weight, dout, 4 + step)
        layer._counters.variables[1].assign(3.0 + step)
        (found, mixed), gradients = vjp(
            lambda *x: layer(list(x), training=True),
            [x, labels],
            [dout, np.zeros(1, "float32")],
            layer.trainable_variables,
        )
        check(found, out)
        check(mixed, [share])
        check(gradients[0], dx.reshape(shape), 1e-4)
        assert not gradients[1].any()
        check(gradients[2], dweight.T, 1e-4)


def test_training_and_inference_count_on_their_own():
    layer = MarginInnerProduct(2, "DOUBLE", base=8, gamma=1, return_lambda=True)
    inputs = [normal(3, 4), np.zeros(3, "float32")]
    shares = [
        float(np.asarray(layer(inputs, training=training)[1])[0])
        for training in (True, True, False)
    ]
    assert shares == [4.0, pytest.approx(8 / 3), 4.0]
    assert [w.name for w in layer.weights] == ["kernel"]


def test_updates_leave_unit_vectors(check):
    inputs = [keras.Input((4,)), keras.Input(())]
    layer = MarginInnerProduct(3, "QUADRUPLE", kernel_initializer="glorot_uniform")
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    x = [normal(5, 4), np.ones(5, "float32")]
    model.fit(x, normal(5, 3), verbose=0)
    check(np.linalg.norm(layer.get_weights()[0], axis=0), np.ones(3))
    again = MarginInnerProduct.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_unknown_margin():
    with pytest.raises(ValueError, match="margin"):
        MarginInnerProduct(2, "TENFOLD")
