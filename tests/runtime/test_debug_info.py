"""debug_info: what it prints, and that training does not notice."""

import itertools
import re

import keras
import numpy as np
import pytest
from keras import layers, ops

from caffe2k.runtime.callbacks import Solve
from caffe2k.runtime.debug_info import DebugInfo
from caffe2k.runtime.endpoint import LossEndpoint
from caffe2k.runtime.gradients import StopGradient
from caffe2k.runtime.multipliers import Multiplier, resolve_multipliers
from caffe2k.runtime.normalization import BatchNorm
from caffe2k.runtime.optimizers import CaffeSGD
from caffe2k.runtime.streams import Stream

X = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
Y = np.random.default_rng(1).normal(size=(4, 1)).astype("float32")


def train(model, batch, loss=None, steps=1, rates=None, decay=0.0, watched=True):
    """Trains on a batch again and again, and looks at every second update."""
    multipliers = resolve_multipliers(model, rates or {})
    optimizer = CaffeSGD(0.1, weight_decay=decay, multipliers=multipliers)
    model.compile(optimizer, loss=loss)
    stream = Stream(batch for _ in itertools.count())
    callbacks = [Solve(steps, stream)]
    callbacks += [DebugInfo(2, stream)] if watched else []
    model.fit(
        stream.unused(),
        steps_per_epoch=steps,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,
    )


def chain():
    """Two InnerProducts with batch statistics and random zeros between them."""
    keras.utils.set_random_seed(1)
    inner = [layers.Dense(3, name="ip"), BatchNorm(name="bn")]
    inner += [layers.Dropout(0.5, name="drop"), layers.Dense(1, name="y")]
    return keras.Sequential([keras.Input((2,), name="data"), *inner])


def printed(out, what):
    """The texts behind [what] and the numbers at their ends, in the order printed."""
    found = re.findall(rf"^    \[{what}\] (Layer .*): (\S+)$", out, re.MULTILINE)
    return [(text, float(number)) for text, number in found]


def assert_printed(found, expected):
    assert [text for text, _ in found] == [text for text, _ in expected]
    for (text, number), (_, array) in zip(found, expected, strict=True):
        assert number == pytest.approx(np.abs(array).mean(), rel=1e-4), text


def values(model, *names):
    """The kernels of Dense layers."""
    return [ops.convert_to_numpy(model.get_layer(name).kernel) for name in names]


def test_training_does_not_notice(capsys):
    trained = []
    for watched in (True, False):
        model = chain()
        train(model, (X, Y), "mse", steps=3, watched=watched)
        count = capsys.readouterr().out.count("All net params")
        assert count == (2 if watched else 0)
        trained.append([ops.convert_to_numpy(v) for v in model.variables])
    for a, b in zip(*trained, strict=True):
        np.testing.assert_array_equal(a, b)


def test_forward_and_update(capsys):
    model = chain()
    before = values(model, "ip", "y")
    train(model, (X, Y), "mse")
    out = capsys.readouterr().out
    found = printed(out, "Forward")
    assert [text for text, _ in found] == [
        "Layer data, top blob data data",
        "Layer ip, top blob ip data",
        "Layer ip, param blob 0 data",
        "Layer ip, param blob 1 data",
        "Layer bn, top blob bn data",
        "Layer bn, param blob 0 data",
        "Layer bn, param blob 1 data",
        "Layer bn, param blob 2 data",
        "Layer drop, top blob drop data",
        "Layer y, top blob y data",
        "Layer y, param blob 0 data",
        "Layer y, param blob 1 data",
    ]
    numbers = dict(found)
    expected = [
        ("Layer data, top blob data data", X),
        ("Layer ip, top blob ip data", X @ before[0]),
        ("Layer ip, param blob 0 data", before[0]),
        ("Layer y, param blob 0 data", before[1]),
    ]
    assert_printed([(text, numbers[text]) for text, _ in expected], expected)
    found = re.findall(
        r"^    \[Update\] Layer (\w+), param 0 data: (\S+); diff: (\S+)$",
        out,
        re.MULTILINE,
    )
    assert [layer for layer, _, _ in found] == ["ip", "bn", "y"]
    for (_, data, diff), kernel, old in zip(
        (found[0], found[2]), values(model, "ip", "y"), before, strict=True
    ):
        assert float(data) == pytest.approx(np.abs(kernel).mean(), rel=1e-4)
        assert float(diff) == pytest.approx(np.abs(kernel - old).mean(), rel=1e-3)


def test_backward_of_a_chain(capsys):
    """By hand, for a mean of squares behind tanh; decay is not in it."""
    keras.utils.set_random_seed(1)
    inner = [layers.Dense(3, name="ip"), layers.Activation("tanh", name="tanh")]
    inner.append(layers.Dense(1, name="y"))
    model = keras.Sequential([keras.Input((2,), name="data"), *inner])
    first, second = values(model, "ip", "y")
    train(model, (X, Y), "mse", rates={"bias": Multiplier(0.0)}, decay=0.5)
    out = capsys.readouterr().out
    hidden = np.tanh(X @ first)
    of_y = 2 * (hidden @ second - Y) / len(X)
    of_hidden = of_y @ second.T
    of_ip = of_hidden * (1 - hidden**2)
    of_kernels = [X.T @ of_ip, hidden.T @ of_y]
    assert_printed(
        printed(out, "Backward"),
        [
            ("Layer loss, bottom blob y diff", of_y),
            ("Layer y, bottom blob tanh diff", of_hidden),
            ("Layer y, param blob 0 diff", of_kernels[1]),
            ("Layer tanh, bottom blob ip diff", of_ip),
            ("Layer ip, param blob 0 diff", of_kernels[0]),
        ],
    )
    norms = re.search(
        r"\[Backward\] All net params \(data, diff\): "
        r"L1 norm = \((\S+), (\S+)\); L2 norm = \((\S+), (\S+)\)$",
        out,
        re.MULTILINE,
    )
    weights, gradients = (
        np.concatenate([array.ravel() for array in arrays])
        for arrays in ([first, second], of_kernels)
    )
    expected = [np.linalg.norm(v, n) for n in (1, 2) for v in (weights, gradients)]
    assert [float(n) for n in norms.groups()] == pytest.approx(expected, rel=1e-4)


def branching():
    """One blob with two readers, a loss inside and one outside of the model.

    The first layer is frozen; nothing goes back through `stop`, and no loss hangs on
    `unused`.
    """
    keras.utils.set_random_seed(2)
    data, label = keras.Input((2,), name="data"), keras.Input((1,), name="label")
    frozen = layers.Dense(2, name="frozen")(data)
    ip = layers.Dense(3, name="ip")(frozen)
    tanh = layers.Activation("tanh", name="tanh")(ip)
    joined = layers.Multiply(name="product")([ip, tanh])
    pred = layers.Dense(1, name="pred")(joined)
    loss = LossEndpoint(keras.losses.MeanSquaredError(), 0.5, name="loss")(
        [pred, label]
    )
    aside = layers.Dense(1, name="aside")(StopGradient(name="stop")(tanh))
    unused = layers.Dense(1, name="unused")(tanh)
    outputs = {"loss": loss, "side": aside, "unused": unused}
    return keras.Model([data, label], outputs)


RATES = {"bias": Multiplier(0.0), "frozen": {"kernel": Multiplier(0.0)}}


def test_backward_of_branches(capsys):
    model = branching()
    frozen, first, pred, aside = values(model, "frozen", "ip", "pred", "aside")
    batch = ({"data": X, "label": Y}, {"side": Y})
    train(model, batch, {"side": "mse"}, rates=RATES)
    ip = X @ frozen @ first
    tanh = np.tanh(ip)
    of_pred = (ip * tanh @ pred - Y) / len(X)
    of_product = of_pred @ pred.T
    of_tanh = of_product * ip * (1 - tanh**2)
    of_side = 2 * (tanh @ aside - Y) / len(X)
    assert_printed(
        printed(capsys.readouterr().out, "Backward"),
        [
            ("Layer side_loss, bottom blob side diff", of_side),
            ("Layer aside, param blob 0 diff", tanh.T @ of_side),
            ("Layer loss, bottom blob pred diff", of_pred),
            ("Layer pred, bottom blob product diff", of_product),
            ("Layer pred, param blob 0 diff", (ip * tanh).T @ of_pred),
            ("Layer product, bottom blob ip diff", of_product * tanh),
            ("Layer product, bottom blob tanh diff", of_product * ip),
            ("Layer tanh, bottom blob ip diff", of_tanh),
            (
                "Layer ip, param blob 0 diff",
                (X @ frozen).T @ (of_product * tanh + of_tanh),
            ),
        ],
    )


def test_backward_of_a_shared_layer(capsys):
    """The weights' gradient, of both uses, stands behind the first one."""
    keras.utils.set_random_seed(3)
    left, right = keras.Input((2,), name="left"), keras.Input((2,), name="right")
    tower, top = layers.Dense(3, name="tower"), layers.Dense(1, name="top")
    difference = layers.Subtract(name="difference")([tower(left), tower(right)])
    model = keras.Model([left, right], top(difference))
    (kernel,) = values(model, "top")
    (shared,) = values(model, "tower")
    other = X[::-1] * 2
    rates = {"bias": Multiplier(0.0)}
    train(model, ((X, other), Y), "mse", rates=rates)
    of_top = 2 * ((X - other) @ shared @ kernel - Y) / len(X)
    of_difference = of_top @ kernel.T
    assert_printed(
        printed(capsys.readouterr().out, "Backward"),
        [
            ("Layer loss, bottom blob top diff", of_top),
            ("Layer top, bottom blob difference diff", of_difference),
            ("Layer top, param blob 0 diff", ((X - other) @ shared).T @ of_top),
            ("Layer difference, bottom blob tower diff", of_difference),
            ("Layer difference, bottom blob tower diff", of_difference),
            ("Layer tower, param blob 0 diff", (X - other).T @ of_difference),
        ],
    )


def test_integers_are_not_perturbed(capsys):
    """Word numbers have no gradient, what is looked up has one."""
    keras.utils.set_random_seed(4)
    words = keras.Input((), dtype="int32", name="words")
    vectors = layers.Embedding(5, 2, name="embed")(words)
    model = keras.Model(words, layers.Dense(1, use_bias=False, name="y")(vectors))
    table = ops.convert_to_numpy(model.get_layer("embed").embeddings)
    (kernel,) = values(model, "y")
    rows = np.array([0, 3, 3, 1], "int32")
    train(model, (rows, Y), "mse")
    of_y = 2 * (table[rows] @ kernel - Y) / len(Y)
    of_table = np.zeros_like(table)
    np.add.at(of_table, rows, of_y @ kernel.T)
    assert_printed(
        printed(capsys.readouterr().out, "Backward"),
        [
            ("Layer loss, bottom blob y diff", of_y),
            ("Layer y, bottom blob embed diff", of_y @ kernel.T),
            ("Layer y, param blob 0 diff", table[rows].T @ of_y),
            ("Layer embed, param blob 0 diff", of_table),
        ],
    )


def test_model_is_left_as_it_was():
    """The perturbed copy does not show in what is saved."""
    model = branching()
    config = model.get_config()
    train(model, ({"data": X, "label": Y}, {"side": Y}), {"side": "mse"}, rates=RATES)
    assert model.get_config() == config
