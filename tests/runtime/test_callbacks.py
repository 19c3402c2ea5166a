"""Display, tests, snapshots and stopping, counted in Caffe's iterations."""

import itertools
import os
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

from caffe2k.runtime.callbacks import (
    Display,
    Evaluation,
    LastForward,
    Solve,
    TestNet,
    evaluate,
)
from caffe2k.runtime.endpoint import LossEndpoint, WeightedOutput
from caffe2k.runtime.losses import SoftmaxWithLoss
from caffe2k.runtime.metrics import BatchAccuracy, LossValue, PerClassAccuracy
from caffe2k.runtime.multipliers import Multiplier, resolve_multipliers
from caffe2k.runtime.normalization import BatchNorm
from caffe2k.runtime.optimizers import CaffeSGD
from caffe2k.runtime.reductions import Reduction
from caffe2k.runtime.schedules import Fixed, Step
from caffe2k.runtime.snapshots import Snapshot
from caffe2k.runtime.streams import Stream
from caffe2k.runtime.training_log import Output, TrainingLog


def train(model, callbacks, **kwargs):
    settings = {"epochs": 3, "steps_per_epoch": 10, "verbose": 0, **kwargs}
    stream = settings.pop("stream", None) or Stream(
        settings.pop("data", None) or batches("train", 10)
    )
    data = stream.unused()
    return model.fit(data, callbacks=callbacks, shuffle=False, **settings).history


def sgd_model(case="sgd_fixed", **settings):
    """The digits net, compiled as solvers/<case>/solver.prototxt says."""
    model = digits_net(trajectory(case))
    multipliers = resolve_multipliers(model, {"bias": Multiplier(2, 0)})
    settings = {"momentum": 0.9, "weight_decay": 0.01, **settings}
    rate = settings.pop("rate", Fixed(0.05))
    compile_digits_net(model, CaffeSGD(rate, multipliers=multipliers, **settings))
    return model


def displayed(capsys):
    found = re.findall(r"Iteration (\d+) .*, loss = (\S+)", capsys.readouterr().out)
    return {int(iteration): float(loss) for iteration, loss in found}


@needs_suite
@pytest.mark.parametrize(("every", "average_loss"), [(1, 1), (4, 1), (4, 3), (3, 7)])
def test_display_averages_the_last_iterations(every, average_loss, capsys):
    history = train(sgd_model(), [Display(every, average_loss=average_loss)])
    losses = trajectory("sgd_fixed")["loss"]

    expected = {
        i: np.mean(losses[max(0, i + 1 - average_loss) : i + 1])
        for i in range(0, 30, every)
    }
    assert displayed(capsys) == pytest.approx(expected, rel=1e-5)
    epoch_means = losses.reshape(3, 10).mean(axis=1)
    np.testing.assert_allclose(history["loss"], epoch_means, rtol=1e-6)


def line_model():
    """y = 2 x with a loss of y squared, and a rate of 0."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[2.0]], "float32")])
    model.compile(CaffeSGD(Step(0.0, 0.5, 1)), loss="mse", loss_weights=[0.5])
    return model


def points(*xs):
    return ((np.array([[x]], "float32"), np.zeros((1, 1))) for x in xs)


def test_the_form_of_displayed_lines(capsys):
    display = Display(2, [Output("l", "loss", 0.5, weighted=True)])
    train(line_model(), [display], data=points(1, 2, 4, 8), epochs=1, steps_per_epoch=3)
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\(\S+ iter/s, \S+s/2 iters\)", "()", line) for line in lines] == [
        "Iteration 0 (), loss = 2",
        "    Train net output #0: l = 4 (* 0.5 = 2 loss)",
        "Iteration 0, lr = 0",
        "Iteration 2 (), loss = 32",
        "    Train net output #0: l = 64 (* 0.5 = 32 loss)",
        "Iteration 2, lr = 0",
    ]


def test_the_last_forward_pass_takes_the_next_batch_and_moves_statistics(capsys):
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), dense, BatchNorm(name="bn")])
    model.compile(CaffeSGD(0.0), loss="mse")
    values = [np.array([[x], [3.0 * x]], "float32") for x in (1.0, 2, 4, 8)]
    stream = Stream((x, np.zeros((2, 1), "float32")) for x in values)
    solve, display = Solve(2, stream), Display(2)
    callbacks = [solve, display, LastForward(solve, display)]
    settings = {"stream": stream, "epochs": 1, "steps_per_epoch": 2}
    history = train(model, callbacks, **settings)["loss"]
    layer = model.get_layer("bn")
    scale = float(np.asarray(layer.scale_factor)[0])
    assert scale == pytest.approx(1 + 0.999 + 0.999**2)
    assert stream.used == 3
    mean = 0.999**2 * 2 + 0.999 * 4 + 8
    assert np.asarray(layer.mean) == pytest.approx([mean], rel=1e-5)
    assert "Iteration 2, loss = " in capsys.readouterr().out
    assert history == pytest.approx([1.0], abs=1e-3)


@needs_suite
def test_tests_go_on_where_the_last_test_stopped(capsys):
    """Accuracy and loss of each of Caffe's four tests, and Keras's own log of them."""
    recorded = trajectory("sgd_fixed")
    evaluation = Evaluation([TestNet(Stream(batches("test", 20)), 3)], every=10)
    history = train(sgd_model(), [evaluation])

    printed = iter(capsys.readouterr().out.splitlines())
    for iteration in (0, 10, 20, 30):
        assert next(printed) == f"Iteration {iteration}, Testing net (#0)"
        outputs = dict(next(printed).split(": ")[1].split(" = ") for _ in range(2))
        for name in ("accuracy", "loss"):
            expected = pytest.approx(
                float(recorded[f"test/{iteration}/{name}"]), rel=1e-5
            )
            assert float(outputs[name]) == expected
            if iteration:
                logged = history[f"val_{name}"][iteration // 10 - 1]
                assert logged == expected
    assert len(history["val_accuracy"]) == 3


@needs_suite
def test_no_test_at_the_start_or_after_a_partial_epoch(capsys):
    tests = [TestNet(Stream(batches("test", 20)), 1)]
    evaluation = Evaluation(tests, every=10, at_start=False)
    stream = Stream(batches("train", 10))
    train(sgd_model(), [Solve(25, stream), evaluation], stream=stream)
    lines = capsys.readouterr().out.splitlines()
    tested = [line for line in lines if line.startswith("Iteration")]
    assert tested == [f"Iteration {n}, Testing net (#0)" for n in (10, 20)]


def test_outputs_are_the_mean_of_batch_outputs(capsys):
    """Also where a batch counts fewer labels than another."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    model.compile(loss="mae", weighted_metrics=[keras.metrics.MeanAbsoluteError("mae")])
    x = np.ones((4, 1), "float32")
    few = (np.zeros((4, 1), "float32"), np.array([1, 0, 0, 0], "float32"))
    all_ = (np.full((4, 1), 4, "float32"), np.ones(4, "float32"))
    outputs = evaluate(model, iter([(x, *few), (x, *all_), (x, *few)]), 2)
    assert outputs["mae"] == 2.0
    assert "    Test net output #1: mae = 2\n" in capsys.readouterr().out


@needs_suite
@pytest.mark.parametrize("iter_size", [1, 2])
def test_stops_within_an_epoch(iter_size):
    model = sgd_model(iter_size=iter_size)
    stream = Stream(batches("train", 10))
    solve = Solve(13, stream)
    train(model, [solve], stream=stream, steps_per_epoch=10 * iter_size)
    assert stream.used == 13 * iter_size
    assert int(model.optimizer.iterations) == 13


@needs_suite
@pytest.mark.parametrize("iter_size", [1, 2])
def test_a_snapshot_resumes_exactly(iter_size, tmp_path):
    """Model, history, iteration: ten more updates end where thirty in a row did."""
    rate = Step(0.05, 0.5, 7)
    prefix = tmp_path / "made" / "net"
    model = sgd_model(iter_size=iter_size, rate=rate)
    steps = 10 * iter_size
    train(model, [Snapshot(str(prefix), every=20)], steps_per_epoch=steps)
    assert sorted(os.listdir(prefix.parent)) == [
        "net_iter_20.keras",
        "net_iter_30.keras",
    ]

    resumed = keras.saving.load_model(f"{prefix}_iter_20.keras")
    assert int(resumed.optimizer.iterations) == 20
    data = itertools.islice(batches("train", 10), 2 * steps, None)
    train(resumed, [Display(1)], data=data, epochs=1, steps_per_epoch=steps)
    for a, b in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@needs_suite
def test_counting_goes_on_after_a_snapshot(tmp_path, capsys):
    prefix = str(tmp_path / "net")
    train(sgd_model(), [Snapshot(prefix)], epochs=2)
    resumed = keras.saving.load_model(f"{prefix}_iter_20.keras")
    data = itertools.islice(batches("train", 10), 20, None)
    stream = Stream(data)
    train(resumed, [Solve(30, stream), Display(1)], stream=stream)
    recorded = trajectory("sgd_fixed")
    expected = dict(enumerate(recorded["loss"][20:], 20))
    assert displayed(capsys) == pytest.approx(expected, rel=1e-5)
    assert parameter_error(resumed, recorded, 30) < 1e-5


@pytest.mark.parametrize(
    ("settings", "iterations"),
    [
        ({"every": 2}, [2, 4, 5]),
        ({"every": 5}, [5]),
        ({}, [5]),
        ({"every": 2, "after_train": False}, [2, 4]),
    ],
)
def test_when_snapshots_are_taken(settings, iterations, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        Snapshot, "_save", lambda self, iteration: saved.append(iteration)
    )
    train_nothing([Snapshot(str(tmp_path / "net"), **settings)], iterations=5)
    assert saved == iterations


def train_nothing(callbacks, iterations):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(CaffeSGD(0.0), loss="mse")
    data = itertools.repeat((np.ones((1, 1), "float32"), np.ones((1, 1), "float32")))
    train(model, callbacks, data=data, epochs=1, steps_per_epoch=iterations)


def test_an_interrupted_snapshot_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, path):
        with open(path, "w") as file:
            file.write("half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save", interrupted)
    with pytest.raises(OSError, match="disk full"):
        train_nothing([Snapshot(str(tmp_path / "net"), every=1)], iterations=1)
    assert os.listdir(tmp_path) == []


def test_batches_that_run_as_one_are_refused():
    if keras.backend.backend() == "torch":
        pytest.skip("Keras has no steps_per_execution on torch")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(CaffeSGD(0.0), loss="mse", steps_per_execution=2)
    with pytest.raises(ValueError, match="steps_per_execution"):
        model.fit(np.ones((4, 1)), np.ones((4, 1)), callbacks=[Display(1)], verbose=0)


def test_evaluation_reports_what_layers_compute_of_a_batch(capsys):
    """Unweighted losses and vectors, as means over the batches."""
    data, label = keras.Input((3,), name="data"), keras.Input((), name="label")
    outputs = {
        "loss": LossEndpoint(SoftmaxWithLoss(), 0.5, name="inner")([data, label]),
        "per": BatchAccuracy(per_class=True, name="per")([data, label]),
        "sum": Reduction([0, 1], name="sum")(data),
        "blob": keras.layers.Identity(name="blob")(data),
    }
    model = keras.Model([data, label], outputs)
    model.compile()
    rng = np.random.default_rng(0)
    batches = [
        {
            "data": rng.normal(size=(4, 3)).astype("float32"),
            "label": rng.integers(0, 3, 4),
        }
        for _ in range(2)
    ]
    outputs = [
        Output("blob"),
        Output("loss", loss_weight=0.5, repeated=True),
        Output("per", repeated=True),
        Output("sum", repeated=True),
    ]
    means = evaluate(model, iter([(x,) for x in batches]), 2, outputs)
    losses = [float(SoftmaxWithLoss()(x["label"], x["data"])) for x in batches]
    # What Keras calls loss is the whole objective.
    assert means["loss"] == pytest.approx(0.5 * np.mean(losses), rel=1e-5)
    sums = [x["data"].sum() for x in batches]
    assert means["sum"] == pytest.approx(np.mean(sums), rel=1e-4)
    assert set(means) == {"loss", "sum"}
    printed = capsys.readouterr().out
    blob = [float(x) for x in re.findall(r"blob = (\S+)", printed)]
    expected = np.mean([x["data"] for x in batches], axis=0)
    np.testing.assert_allclose(blob, expected.ravel(), rtol=1e-5)
    per = [float(x) for x in re.findall(r"per = (\S+)", printed)]
    shares = [PerClassAccuracy(3)(x["label"], x["data"]) for x in batches]
    np.testing.assert_allclose(per, np.mean(shares, axis=0), rtol=1e-5)
    weighed = re.findall(r"#(\d+): loss = (\S+) \(\* 0.5 = (\S+) loss\)", printed)
    (number, own, weighted) = map(float, weighed[0])
    assert number == 12
    assert own == pytest.approx(np.mean(losses), rel=1e-5)
    assert weighted == pytest.approx(0.5 * own, rel=1e-5)


def test_a_loss_beside_losses_in_the_model_is_told_alone():
    x, label = keras.Input((3,), name="x"), keras.Input((), name="label")
    inner = LossEndpoint(SoftmaxWithLoss(), 2.0, name="inner")([x, label])
    outputs = {"inner": inner, "y": keras.layers.Identity(name="y")(x)}
    model = keras.Model([x, label], outputs)
    value = LossValue(SoftmaxWithLoss(), name="value")
    again = keras.metrics.deserialize(keras.metrics.serialize(value))
    model.compile(loss={"y": SoftmaxWithLoss()}, metrics={"y": [again]})
    scores, labels = np.eye(3, dtype="float32"), np.array([0, 1, 0])
    result = model.test_on_batch(
        {"x": scores, "label": labels}, {"inner": labels, "y": labels}, return_dict=True
    )
    alone = float(SoftmaxWithLoss()(labels, scores))
    assert result["y_value"] == pytest.approx(alone, rel=1e-5)
    assert result["loss"] == pytest.approx(3 * alone, rel=1e-5)


def test_blobs_that_the_logs_lack_are_those_of_the_update(capsys):
    """With Dropout, and of the last batch of an iteration; training does not notice."""

    def weights(outputs):
        keras.utils.set_random_seed(1)
        x = keras.Input((4, 3, 2), name="x")
        drop = keras.layers.Dropout(0.5, name="drop")(x)
        y = keras.layers.Conv2D(1, (4, 3), name="y")(BatchNorm(name="bn")(drop))
        total = Reduction([0, 1, 2, 3], name="total")(y)
        model = keras.Model(
            x, {"drop": drop, "total": WeightedOutput(1.0, name="l")(total)}
        )
        model.compile(CaffeSGD(0.1, iter_size=2))
        rng = np.random.default_rng(0)
        stream = Stream(
            (rng.normal(size=(2, 4, 3, 2)).astype("float32"),)
            for _ in itertools.count()
        )
        data = stream if outputs else None
        callbacks = [Solve(3, stream), Display(2, outputs, data=data)]
        train(model, callbacks, stream=stream, epochs=1, steps_per_epoch=6)
        return [np.asarray(v) for v in model.variables]

    watched = weights(
        [Output("drop", channels_last=True), Output("total", repeated=True)]
    )
    out = capsys.readouterr().out
    for a, b in zip(watched, weights([]), strict=True):
        np.testing.assert_array_equal(a, b)
    drops = [float(x) for x in re.findall(r"drop = (\S+)", out)]
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(2, 4, 3, 2)).astype("float32") for _ in range(6)]
    for shown, x in zip(np.reshape(drops, (2, -1)), (xs[1], xs[5]), strict=True):
        expected = np.moveaxis(2 * x, -1, 1).ravel()
        kept = shown != 0
        assert 12 < kept.sum() < 36
        np.testing.assert_allclose(shown[kept], expected[kept], rtol=1e-5)


def test_the_numbers_of_an_update_add_up_to_its_loss(capsys):
    keras.utils.set_random_seed(1)
    x = keras.Input((8,), name="x")
    y = keras.layers.Dense(8)(x)
    outputs = {
        name: WeightedOutput(weight, name=f"{name}_loss")(
            Reduction([0, 1], name=name)(keras.layers.Dropout(0.5)(y))
        )
        for name, weight in (("a", 0.5), ("b", 2.0))
    }
    model = keras.Model(x, outputs)
    model.compile(CaffeSGD(0.1))
    rng = np.random.default_rng(0)
    stream = Stream(
        (rng.normal(size=(4, 8)).astype("float32"),) for _ in itertools.count()
    )
    shown = [Output("a", "", 0.5, repeated=True), Output("b", "", 2.0, repeated=True)]
    callbacks = [Solve(3, stream), Display(1, shown, data=stream)]
    train(model, callbacks, stream=stream, epochs=1, steps_per_epoch=3)
    out = capsys.readouterr().out
    parts = [float(x) for x in re.findall(r"= (\S+) loss\)", out)]
    losses = [float(x) for x in re.findall(r", loss = (\S+)", out)]
    assert len(losses) == 3
    assert np.reshape(parts, (3, 2)).sum(axis=1) == pytest.approx(losses, rel=1e-4)


def test_a_net_of_its_own_is_tested_with_the_trained_weights(capsys):
    """By layer name; what only one of the nets has stays out of it."""
    trained = line_model()
    other = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    for model in (trained, other):
        model.layers[0].name = "ip"
    other.compile(loss="mse")
    log = TrainingLog()
    net = TestNet(Stream(points(1, 3)), 2, [Output("l", "loss", 1.0)], other)
    assert net.evaluate(trained, log)["loss"] == (4 + 36) / 2
    assert capsys.readouterr().out == "    Test net output #0: l = 20 (* 1 = 20 loss)\n"
