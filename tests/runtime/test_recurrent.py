"""Caffe's recurrent layers: against Caffe's results and NumPy readings of the rule."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.recurrent import LSTM, RNN, LSTMUnit
from tests.runtime.caffe_recurrence import (
    LSTMRule,
    RNNRule,
    unit_backward,
    unit_forward,
)

RNG = np.random.default_rng(31)
RULES = {LSTM: LSTMRule, RNN: RNNRule}


def normal(*shape):
    return RNG.normal(0, 0.7, shape).astype("float32")


def random_cont(time, streams):
    return RNG.integers(0, 2, (time, streams)).astype("float32")


def blobs_of(layer):
    """A layer's weights as Caffe's blobs."""
    return [w.T for w in layer.get_weights()]


def made(kind, units, x, cont, *others, **kwargs):
    """A layer with random weights, for the given inputs."""
    layer = kind(units, **kwargs)
    layer.build([a.shape for a in (x, cont, *others)])
    layer.set_weights([normal(*w.shape) for w in layer.weights])
    return layer


def gradients_by_rule(layer, rule, dout):
    inputs, blobs = rule.backward(dout)
    return inputs, [b.T for b in blobs]


@pytest.mark.parametrize("name", ["lstm", "lstm_resets", "lstm_static", "rnn"])
def test_case(name, caffe_case, check, vjp):
    case = caffe_case(name)
    inputs = [case[f"in/{k}"] for k in ("data", "cont", "static") if f"in/{k}" in case]
    kind = RNN if name == "rnn" else LSTM
    layer = kind(case["out/out"].shape[-1])
    layer.build([x.shape for x in inputs])
    layer.set_weights([case[f"param/op/{i}"].T for i in range(len(layer.weights))])
    out, gradients = vjp(
        lambda *x: layer(list(x)), inputs, case["dout/out"], layer.trainable_variables
    )
    check(out, case["out/out"])
    check(gradients[0], case["din/data"], 1e-4)
    assert not gradients[1].any()
    if "din/static" in case:
        check(gradients[2], case["din/static"], 1e-4)
    for i, gradient in enumerate(gradients[len(inputs) :]):
        check(gradient.T, case[f"dparam/op/{i}"], 1e-4)


def test_case_with_exposed_state(caffe_case, check):
    case = caffe_case("lstm_hidden")
    inputs = [case[f"in/{k}"] for k in ("data", "cont", "h0", "c0")]
    layer = LSTM(5, expose_hidden=True)
    layer.build([x.shape for x in inputs])
    layer.set_weights([case[f"param/op/{i}"].T for i in range(3)])
    for top, name in zip(layer(inputs), ("out", "hT", "cT"), strict=True):
        check(top, case[f"out/{name}"])


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("features", [(1,), (5,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("static", [None, (4,), (2, 1, 3)])
@pytest.mark.parametrize(("time", "streams"), [(1, 1), (4, 3)])
def test_rule(kind, features, static, time, streams, check, vjp):
    x, cont = normal(time, streams, *features), random_cont(time, streams)
    more = [] if static is None else [normal(streams, *static)]
    layer = made(kind, 3, x, cont, *more)
    dout = normal(time, streams, 3)
    out, gradients = vjp(
        lambda *a: layer(list(a)), [x, cont, *more], dout, layer.trainable_variables
    )
    rule = RULES[kind](*blobs_of(layer))
    check(out, rule.forward(x, cont, *more)[0])
    inputs, weights = gradients_by_rule(layer, rule, dout)
    assert not gradients.pop(1).any()
    for gradient, expected in zip(gradients, [*inputs, *weights], strict=True):
        check(gradient, expected, 1e-4)


def test_cont_between_0_and_1(check, vjp):
    """Caffe's LSTM has another gradient there than its formula."""
    x, cont = normal(4, 2, 3), RNG.uniform(0, 1, (4, 2)).astype("float32")
    layer, dout = made(LSTM, 5, x, cont), normal(4, 2, 5)
    out, (dx, _, *dweights) = vjp(
        lambda *a: layer(list(a)), [x, cont], dout, layer.trainable_variables
    )
    rule = LSTMRule(*blobs_of(layer))
    check(out, rule.forward(x, cont)[0])
    (expected,), blobs = rule.backward(dout)
    check(dx, expected, 1e-4)
    check(dweights[0], blobs[0].T, 1e-4)


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("static", [False, True])
def test_exposed_state(kind, static, check, vjp):
    x, cont = normal(3, 2, 4), random_cont(3, 2)
    more = [normal(2, 6)] * static
    states = [normal(1, 2, 5) for _ in kind.state_names]
    layer = made(kind, 5, x, cont, *more, *states, expose_hidden=True)
    assert layer.variables == layer.weights
    rule = RULES[kind](*blobs_of(layer))
    state = [s[0] for s in states]
    expected = rule.forward(x, cont, *more, state=state)
    cotangents = [normal(3, 2, 5), *(normal(1, 2, 5) for _ in states)]
    tops, gradients = vjp(
        lambda *a: layer(list(a)), [x, cont, *more, *states], cotangents
    )
    check(tops[0], expected[0])
    for top, last in zip(tops[1:], expected[1:], strict=True):
        check(top[0], last)
    check(gradients[0], rule.backward(cotangents[0])[0][0], 1e-4)
    for gradient in gradients[-len(states) :]:
        assert not gradient.any()


@pytest.mark.parametrize("kind", RULES)
def test_state_is_carried(kind, check):
    """Training and inference each go on where they were."""
    ones = np.ones((3, 2), "float32")
    layer = made(kind, 4, normal(3, 2, 5), ones)
    rule = RULES[kind](*blobs_of(layer))
    state = {True: None, False: None}
    for training in (True, False, False, True):
        x = normal(3, 2, 5)
        expected, *state[training] = rule.forward(x, ones, state=state[training])
        check(layer([x, ones], training=training), expected)
    layer.reset_state()
    for training in (True, False):
        check(layer([x, ones], training=training), rule.forward(x, ones)[0])


def test_streams_come_and_go(check):
    """Fewer streams leave the others' state alone; more start at 0."""
    ones = np.ones((2, 3), "float32")
    layer = made(LSTM, 4, normal(2, 3, 5), ones)
    rule = LSTMRule(*blobs_of(layer))
    x = normal(2, 5, 5)
    _, h, c = rule.forward(x[:, :3], ones)
    layer([x[:, :3], ones])
    expected, *state = rule.forward(x[:, :1], ones[:, :1], state=(h[:1], c[:1]))
    check(layer([x[:, :1], ones[:, :1]]), expected)
    h, c = (np.concatenate([s, old[1:]]) for s, old in zip(state, (h, c), strict=True))
    h, c = (np.concatenate([s, np.zeros((2, 4))]) for s in (h, c))
    more = np.ones((2, 5), "float32")
    expected, h, c = rule.forward(x, more, state=(h, c))
    check(layer([x, more]), expected)
    expected, *_ = rule.forward(x[:, :3], ones, state=(h[:3], c[:3]))
    check(layer([x[:, :3], ones]), expected)


def test_each_use_has_its_own_state(check):
    ones = np.ones((2, 3), "float32")
    layer = made(LSTM, 4, normal(2, 3, 5), ones, uses=2)
    rule, state = LSTMRule(*blobs_of(layer)), [None, None]
    for use in (0, 1, 1, 0):
        x = normal(2, 3, 5)
        expected, *state[use] = rule.forward(x, ones, state=state[use])
        check(layer([x, ones], use=use), expected)


def functional(size, **kwargs):
    x = keras.Input((size, 5), name="x")
    cont = keras.Input((size,), name="cont")
    out = LSTM(4, name="lstm", **kwargs)([x, cont])
    return keras.Model([x, cont], keras.layers.Dense(2, name="ip")(out))


def test_fit_and_predict_carry_the_state(check):
    """On batches of another number of streams in training and in testing."""
    model = functional(None, streams=3)
    lstm, dense = model.get_layer("lstm"), model.get_layer("ip")
    for layer in (lstm, dense):
        layer.set_weights([normal(*w.shape) for w in layer.weights])
    rule, (kernel, bias) = LSTMRule(*blobs_of(lstm)), dense.get_weights()

    def batches(streams):
        cont, state = np.ones((2, streams), "float32"), None
        for _ in range(3):
            x = normal(2, streams, 5)
            hidden, *state = rule.forward(x, cont, state=state)
            yield {"x": x, "cont": cont}, (hidden @ kernel + bias).astype("float32")

    model.compile(keras.optimizers.SGD(0.0), "mse")
    history = model.fit(batches(3), steps_per_epoch=3, shuffle=False, verbose=0)
    assert history.history["loss"][0] < 1e-10
    for x, expected in batches(2):
        check(model.predict_on_batch(x), expected)


def test_state_is_no_weight(tmp_path, check):
    """A model for one stream takes the weights of one for three, by either file."""
    three, one = functional(3), functional(1)
    assert len(three.weights) == 5
    assert len(three.variables) == 9
    x, ones = normal(2, 1, 5), np.ones((2, 1), "float32")
    three.predict([x.repeat(3, 1), ones.repeat(3, 1)], verbose=0)
    three.save_weights(tmp_path / "three.weights.h5")
    one.load_weights(tmp_path / "three.weights.h5")
    rule = LSTMRule(*blobs_of(three.get_layer("lstm")))
    check(one.get_layer("lstm")([x, ones]), rule.forward(x, ones)[0])


@pytest.mark.parametrize("kind", RULES)
def test_survives(kind, survives):
    x, cont, static = keras.Input((2, 5)), keras.Input((2,)), keras.Input((3,))
    layer = kind(4, uses=2, kernel_initializer="glorot_uniform")
    tops = [layer([x, cont, static]), layer([x, cont, static], use=1)]
    model = keras.Model([x, cont, static], tops)
    survives(model, [normal(2, 2, 5), np.zeros((2, 2), "float32"), normal(2, 3)])


def test_survives_with_exposed_state(survives):
    x, cont, h = keras.Input((2, 5)), keras.Input((2,)), keras.Input((2, 4))
    tops = RNN(4, expose_hidden=True, output_initializer="ones")([x, cont, h])
    assert [t.shape for t in tops] == [(None, 2, 4), (1, 2, 4)]
    model = keras.Model([x, cont, h], tops[0])
    data = [normal(1, 2, 5), np.zeros((1, 2), "float32"), normal(1, 2, 4)]
    survives(model, data)


def test_refuses_unknown_streams():
    with pytest.raises(ValueError, match="streams"):
        functional(None)


def test_initializers():
    uniform = keras.initializers.RandomUniform(1, 2)
    layer = RNN(
        5,
        kernel_initializer=uniform,
        static_initializer="ones",
        bias_initializer=keras.initializers.Constant(3),
    )
    layer.build([(2, 3, 5), (2, 3), (3, 5)])
    kernel, bias, static, recurrent, output, output_bias = layer.get_weights()
    for weight in (kernel, recurrent, output):
        assert 1 <= weight.min() < weight.max() <= 2
    assert not np.array_equal(kernel, recurrent)
    assert (static == 1).all()
    assert (bias == 3).all()
    assert (output_bias == 3).all()


@pytest.mark.parametrize("cont", [[0, 1, 1], [0.3, 0, 0.8]])
def test_unit(cont, check, vjp):
    cell, gates = normal(1, 3, 4), normal(1, 3, 16)
    cont = np.asarray([cont], "float32")
    dc, dh = normal(1, 3, 4), normal(1, 3, 4)
    layer = LSTMUnit()
    tops, gradients = vjp(lambda *a: layer(list(a)), [cell, gates, cont], [dc, dh])
    column = cont[0][:, None]
    for top, expected in zip(
        tops, unit_forward(cell[0], gates[0], column), strict=True
    ):
        check(top[0], expected)
    expected = unit_backward(cell[0], gates[0], column, dc[0], dh[0])
    for gradient, wanted in zip(gradients, expected, strict=False):
        check(gradient[0], wanted, 1e-4)
    assert not gradients[2].any()


def test_unit_survives(survives):
    inputs = [keras.Input((3, 4)), keras.Input((3, 16)), keras.Input((3,))]
    tops = LSTMUnit()(inputs)
    assert [t.shape for t in tops] == [(None, 3, 4), (None, 3, 4)]
    data = [normal(1, 3, 4), normal(1, 3, 16), np.ones((1, 3), "float32")]
    survives(keras.Model(inputs, tops), data)
