"""The optimizers against the training runs that Caffe recorded."""

import re

import keras
import numpy as np
import pytest
from caffe_solver_runs import (
    batches,
    compile_digits_net,
    digits_net,
    needs_suite,
    parameter_error,
    trajectory,
)
from keras import ops

from caffe2k.runtime.callbacks import Display
from caffe2k.runtime.multipliers import Multiplier, resolve_multipliers
from caffe2k.runtime.optimizers import (
    CaffeAdaDelta,
    CaffeAdaGrad,
    CaffeAdam,
    CaffeNesterov,
    CaffeRMSProp,
    CaffeSGD,
)
from caffe2k.runtime.schedules import (
    Fixed,
    InverseDecay,
    MultiStep,
    Polynomial,
    Step,
)

BIAS = {"bias": Multiplier(lr=2, decay=0)}
FROZEN = {**BIAS, "conv": {"kernel": Multiplier(0, 0), "bias": Multiplier(0, 0)}}
SGD = {"momentum": 0.9, "weight_decay": 0.01}
RATE = Fixed(0.05)

CASES = {
    "sgd_plain": (CaffeSGD, Fixed(0.1), {}, {}),
    "sgd_fixed": (CaffeSGD, RATE, SGD, BIAS),
    "sgd_step": (CaffeSGD, Step(0.05, 0.5, 7), SGD, BIAS),
    "sgd_inv": (CaffeSGD, InverseDecay(0.05, 0.1, 0.75), SGD, BIAS),
    "sgd_multistep": (CaffeSGD, MultiStep(0.05, 0.3, [5, 12, 20]), SGD, BIAS),
    "sgd_poly": (CaffeSGD, Polynomial(0.05, 2.0, 30), SGD, BIAS),
    "sgd_l1": (CaffeSGD, RATE, {**SGD, "regularization_type": "L1"}, BIAS),
    "sgd_clip": (CaffeSGD, RATE, {**SGD, "clip_gradients": 0.5}, BIAS),
    "sgd_iter_size": (CaffeSGD, RATE, {**SGD, "iter_size": 3}, BIAS),
    "sgd_frozen_conv": (CaffeSGD, RATE, SGD, FROZEN),
    "nesterov": (CaffeNesterov, Fixed(0.03), SGD, BIAS),
    "adagrad": (CaffeAdaGrad, Fixed(0.03), {"weight_decay": 0.001}, BIAS),
    "rmsprop": (
        CaffeRMSProp,
        Fixed(0.003),
        {"rms_decay": 0.9, "weight_decay": 0.001},
        BIAS,
    ),
    "adadelta": (
        CaffeAdaDelta,
        Fixed(1.0),
        {"momentum": 0.95, "delta": 1e-6, "weight_decay": 0.001},
        BIAS,
    ),
    "adam": (CaffeAdam, Fixed(0.01), {"momentum": 0.9}, BIAS),
    "adam_decay": (
        CaffeAdam,
        Fixed(0.01),
        {"momentum": 0.9, "momentum2": 0.99, "weight_decay": 0.05},
        BIAS,
    ),
}


@needs_suite
@pytest.mark.parametrize("case", CASES)
def test_follows_caffe(case, capsys):
    """Parameters after 10, 20 and 30 updates, and each printed loss and rate."""
    optimizer, rate, settings, multipliers = CASES[case]
    recorded = trajectory(case)
    model = digits_net(recorded)
    resolved = resolve_multipliers(model, multipliers)
    compile_digits_net(model, optimizer(rate, multipliers=resolved, **settings))
    errors = {}

    class Compare(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            errors[epoch] = parameter_error(self.model, recorded, 10 * (epoch + 1))

    model.fit(
        batches("train", 10),
        epochs=3,
        steps_per_epoch=10 * settings.get("iter_size", 1),
        callbacks=[Compare(), Display(1)],
        shuffle=False,
        verbose=0,
    )

    assert len(errors) == 3
    assert max(errors.values()) < (1e-5 if issubclass(optimizer, CaffeSGD) else 5e-5)
    out = capsys.readouterr().out
    printed = re.findall(r"Iteration (\d+) .*, loss = (\S+)\n", out)
    assert [int(iteration) for iteration, _ in printed] == list(range(30))
    losses = [float(loss) for _, loss in printed]
    np.testing.assert_allclose(losses, recorded["loss_log"], rtol=1e-5)
    rates = [float(rate) for rate in re.findall(r", lr = (\S+)\n", out)]
    np.testing.assert_allclose(rates, recorded["lr"], rtol=3e-6)


KINDS = {
    "SGD": (CaffeSGD, {"momentum": 0.9}),
    "Nesterov": (CaffeNesterov, {"momentum": 0.9}),
    "AdaGrad": (CaffeAdaGrad, {"delta": 1e-6}),
    "RMSProp": (CaffeRMSProp, {"rms_decay": 0.9, "delta": 1e-6}),
    "AdaDelta": (CaffeAdaDelta, {"momentum": 0.95, "delta": 1e-6}),
    "Adam": (CaffeAdam, {"momentum": 0.9, "momentum2": 0.99, "delta": 1e-6}),
}


def caffe_update(kind, settings, iteration, rate, gradient, h):
    """SGDSolver's subclasses::ComputeUpdateValue on one array; `h` holds histories."""
    momentum, delta = settings.get("momentum", 0), settings.get("delta", 0)
    if kind in ("SGD", "Nesterov"):
        old = h[0]
        h[0] = momentum * old + rate * gradient
        return h[0] if kind == "SGD" else (1 + momentum) * h[0] - momentum * old
    if kind == "AdaGrad":
        h[0] = h[0] + gradient**2
        return rate * gradient / (np.sqrt(h[0]) + delta)
    if kind == "RMSProp":
        decay = settings["rms_decay"]
        h[0] = decay * h[0] + (1 - decay) * gradient**2
        return rate * gradient / (np.sqrt(h[0]) + delta)
    if kind == "AdaDelta":
        h[0] = momentum * h[0] + (1 - momentum) * gradient**2
        update = gradient * np.sqrt((delta + h[1]) / (delta + h[0]))
        h[1] = momentum * h[1] + (1 - momentum) * update**2
        return rate * update
    momentum2, t = settings["momentum2"], iteration + 1
    h[0] = momentum * h[0] + (1 - momentum) * gradient
    h[1] = momentum2 * h[1] + (1 - momentum2) * gradient**2
    correction = np.sqrt(1 - momentum2**t) / (1 - momentum**t)
    return rate * correction * h[0] / (np.sqrt(h[1]) + delta)


@pytest.mark.parametrize("regularization", ["L1", "L2"])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_at_once(kind, regularization):
    """Clipping, iter_size, decay, multipliers and a rate that falls, in one run."""
    optimizer, settings = KINDS[kind]
    multipliers = [
        Multiplier(1, 1),
        Multiplier(2, 0),
        Multiplier(0, 1),
        Multiplier(3, 4),
    ]
    shapes = [(3, 2), (2,), (4,), (5,)]
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=shape) for shape in shapes]
    weights[0][0, 0] = 0.0
    variables = [keras.Variable(w.astype("float32")) for w in weights]
    solver = optimizer(
        Step(0.05, 0.5, 2),
        weight_decay=0.1,
        regularization_type=regularization,
        clip_gradients=2.5,
        iter_size=2,
        multipliers=multipliers,
        **settings,
    )
    histories = [[np.zeros(shape), np.zeros(shape)] for shape in shapes]

    for iteration in range(5):
        # The last iteration stays below the norm at which gradients are clipped.
        size = 1.0 if iteration < 4 else 0.1
        batch = [[size * rng.normal(size=s) for s in shapes] for _ in range(2)]
        for gradients in batch:
            solver.apply(
                [ops.convert_to_tensor(g, "float32") for g in gradients], variables
            )
        total = [a + b for a, b in zip(*batch, strict=True)]
        learning = [g for g, m in zip(total, multipliers, strict=True) if m.lr]
        norm = np.sqrt(sum((g**2).sum() for g in learning))
        assert (norm > 2.5) == (iteration < 4)
        rate = 0.05 * 0.5 ** (iteration // 2)
        for w, g, m, h in zip(weights, total, multipliers, histories, strict=True):
            g = g * min(1.0, 2.5 / norm) / 2
            g = g + 0.1 * m.decay * (np.sign(w) if regularization == "L1" else w)
            if m.lr:
                w -= caffe_update(kind, settings, iteration, rate * m.lr, g, h)

    for variable, weight in zip(variables, weights, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(variable), weight, atol=2e-6)
    assert int(solver.iterations) == 5


def value(variable):
    return float(ops.convert_to_numpy(variable)[0])


def test_the_rate_of_a_schedule_counts_updates():
    solver = CaffeSGD(Step(1.0, 0.5, 1), iter_size=3)
    variable = keras.Variable(np.zeros(1, "float32"))
    rates = []
    for _ in range(6):
        rates.append(float(solver.learning_rate))
        solver.apply([ops.ones(1)], [variable])
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]


def test_a_weight_without_gradient_decays():
    solver = CaffeSGD(1, weight_decay=0.25)
    reached, unreached = (keras.Variable(np.ones(1, "float32")) for _ in range(2))
    solver.apply([ops.zeros(1), None], [reached, unreached])
    assert value(unreached) == value(reached) == 0.75


def test_all_frozen():
    frozen = CaffeSGD(0.1, weight_decay=0.5, multipliers=[Multiplier(lr=0)])
    variable = keras.Variable(np.ones(1, "float32"))
    frozen.apply([ops.ones(1)], [variable])
    assert value(variable) == 1.0
    assert int(frozen.iterations) == 1


def test_clipping_a_zero_gradient():
    solver = CaffeSGD(0.1, clip_gradients=0.0)
    variable = keras.Variable(np.ones(1, "float32"))
    solver.apply([ops.zeros(1)], [variable])
    solver.apply([ops.ones(1)], [variable])
    assert value(variable) == 1.0


def test_a_table_lookup_decays_in_all_rows():
    """Backends may report a lookup's gradient as sparse; momentum and decay are not."""
    inputs = keras.Input((2,), dtype="int32")
    rows = keras.layers.Embedding(4, 3, name="embed")(inputs)
    model = keras.Model(inputs, keras.layers.Flatten()(rows))
    solver = CaffeSGD(0.5, momentum=0.9, weight_decay=0.1, clip_gradients=1.0)
    model.compile(optimizer=solver, loss=lambda y, x: ops.sum(x, axis=-1))
    expected = model.get_weights()[0].astype("float64")
    history = np.zeros_like(expected)
    for words in ([0, 0], [1, 2], [0, 1]):
        model.train_on_batch(np.array([words], "int32"), np.zeros((1, 1)))
        gradient = np.zeros_like(expected)
        np.add.at(gradient, words, 1.0)
        gradient /= np.linalg.norm(gradient)
        history = 0.9 * history + 0.5 * (gradient + 0.1 * expected)
        expected -= history
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_config_survives(kind):
    optimizer, settings = KINDS[kind]
    original = optimizer(
        Step(0.05, 0.5, 2),
        weight_decay=0.1,
        regularization_type="L1",
        clip_gradients=2.5,
        iter_size=2,
        multipliers=[Multiplier(), Multiplier(2, 0)],
        name="solver",
        **settings,
    )
    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(original)
    )
    assert type(copy) is optimizer
    assert copy.get_config() == original.get_config()
    assert copy.multipliers == [Multiplier(), Multiplier(2, 0)]
    assert {k: copy.get_config()[k] for k in settings} == settings


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="regularization_type 'L3'"):
        CaffeSGD(0.1, regularization_type="L3")
    with pytest.raises(ValueError, match="2 multipliers for 1 trainable"):
        CaffeSGD(0.1, multipliers=[Multiplier()] * 2).build([keras.Variable([1.0])])


def two_layers():
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 3, name="conv"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, use_bias=False, name="ip"),
        ]
    )


def test_multipliers_are_found_by_weight_and_layer():
    resolved = resolve_multipliers(
        two_layers(),
        {
            "bias": Multiplier(2, 0),
            "kernel": Multiplier(0.1),
            "ip": {"kernel": Multiplier(10)},
        },
    )
    conv, conv_bias, gamma, beta, ip = resolved
    assert (conv, conv_bias) == (Multiplier(0.1), Multiplier(2, 0))
    assert gamma == beta == Multiplier()
    assert ip == Multiplier(10)


@pytest.mark.parametrize(
    ("multipliers", "unknown"),
    [
        ({"slope": Multiplier()}, "'slope'"),
        ({"conv1": {"kernel": Multiplier()}}, "'conv1'"),
        ({"ip": {"bias": Multiplier()}}, "'ip: bias'"),
        ({"moving_mean": Multiplier()}, "'moving_mean'"),
    ],
)
def test_a_multiplier_that_matches_nothing_is_an_error(multipliers, unknown):
    with pytest.raises(ValueError, match=f"{unknown}.* layers are conv, bn, ip"):
        resolve_multipliers(two_layers(), multipliers)
