"""Each flag of train.py, and what it does."""

import argparse
import itertools

import keras
import numpy as np
import pytest

from caffe2k.runtime import devices, flags, run_flags


def parsed(*arguments, batch_size=4):
    parser = argparse.ArgumentParser()
    flags.add_flags(parser, batch_size)
    return parser.parse_args(arguments)


def started(*arguments, **defaults):
    """What the flags say of where to start."""
    parser = argparse.ArgumentParser()
    run_flags.add_run_flags(parser, "TEST_INTERVAL", snapshots=True)
    parser.set_defaults(**defaults)
    args = parser.parse_args(arguments)
    return args.weights, args.resume


def test_a_start_that_is_given_takes_the_place_of_the_default():
    assert started(weights=["a.h5"]) == (["a.h5"], None)
    assert started("--resume", "s.keras", weights=["a.h5"]) == ([], "s.keras")
    assert started("--resume", weights=["a.h5"]) == ([], "latest")
    assert started("--weights", "b.h5", "c.h5", resume="s.h5") == (
        ["b.h5", "c.h5"],
        None,
    )


def test_one_start_is_enough(capsys):
    with pytest.raises(SystemExit):
        started("--resume", "s.keras", "--weights", "b.h5")
    assert "not allowed with" in capsys.readouterr().err


def refused(*arguments, batch_size=4):
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments, batch_size=batch_size)
    assert ended.value.code == 2


def model_of_classes(rate=0.1):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="zeros")]
    )
    model.compile(
        keras.optimizers.SGD(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
Y = np.array([0, 1, 1, 0], "float32")


def batches():
    return itertools.repeat((X, Y))


def fit(model, data=None, callbacks=(), epochs=1):
    generator = (batch for batch in data or batches())
    model.fit(
        generator,
        epochs=epochs,
        steps_per_epoch=2,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    )


class Validation(keras.callbacks.Callback):
    """Logs a validation loss of its own, as Evaluation does."""

    def __init__(self, losses):
        super().__init__()
        self.losses = iter(losses)

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = next(self.losses)


def test_without_flags_nothing_is_added():
    args = parsed()
    assert flags.flag_callbacks(args) == []
    data = batches()
    assert flags.weighted(data, args.class_weight) is data
    assert flags.global_batch_size(args) == 4


def test_early_stopping():
    model, epochs = model_of_classes(), []
    count = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, _: epochs.append(e))
    stopping = flags.flag_callbacks(parsed("--early-stopping", "2"))
    losses = [3.0, 2.0, 2.5, 2.0, 1.0]
    fit(model, callbacks=[Validation(losses), *stopping, count], epochs=5)
    assert epochs == [0, 1, 2, 3]
    refused("--early-stopping", "0")


def test_early_stopping_without_tests(capsys):
    args = parsed("--early-stopping", "1")
    fit(model_of_classes(0.0), callbacks=flags.flag_callbacks(args, "loss"), epochs=4)
    assert "Epoch 2: early stopping" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
def test_checkpoints_of_the_best(tmp_path, ending):
    pattern = str(tmp_path / f"best_{{epoch}}_{{val_loss:.1f}}.{ending}")
    checkpoint = flags.flag_callbacks(parsed("--checkpoint", pattern))
    model = model_of_classes()
    fit(model, callbacks=[Validation([3.0, 4.0, 2.0]), *checkpoint], epochs=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"best_1_3.0.{ending}",
        f"best_3_2.0.{ending}",
    ]
    refused("--checkpoint", "best.h5")


def test_tensorboard(tmp_path):
    tf = pytest.importorskip("tensorflow")
    callbacks = flags.flag_callbacks(parsed("--tensorboard", str(tmp_path / "curves")))
    model = model_of_classes(0.25)
    fit(model, callbacks=[Validation([3.0, 2.5]), *callbacks], epochs=2)
    found = {}
    for path in (tmp_path / "curves").rglob("events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                key = (path.parent.name, value.tag)
                found.setdefault(key, []).append((event.step, value.simple_value))
    assert found["validation", "loss"] == [(2, 3.0), (4, 2.5)]
    assert found["train", "learning_rate"] == [(2, 0.25), (4, 0.25)]
    assert [step for step, _ in found["train", "loss"]] == [2, 4]
    assert found["train", "loss"][0][1] == pytest.approx(np.log(2), rel=0.1)


def test_class_weights_weigh_the_gradient():
    """A class that weighs nothing teaches nothing; one that weighs 2 counts twice."""

    def trained(data):
        model = model_of_classes()
        fit(model, data)
        return model.get_weights()

    args = parsed("--class-weight", "0=0,1=2")
    ours = trained(flags.weighted(batches(), args.class_weight))
    # Caffe's mean is over all four samples: two of them at weight 2 are those two alone.
    alone = trained(itertools.repeat((X[1:3], Y[1:3])))
    for actual, expected in zip(ours, alone, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


def test_class_weights_of_several_outputs():
    both = {"aux": Y[:, None], "main": Y[:, None]}
    _, _, weight = next(flags.weighted(iter([(X, both)]), {1: 2.5}))
    assert weight.keys() == both.keys()
    np.testing.assert_array_equal(weight["main"], [1, 2.5, 2.5, 1])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"a": Y, "b": 1 - Y}, "different targets"),
        (np.zeros((4, 2, 2)), "4 targets, not one"),
    ],
)
def test_class_weights_need_one_label(targets, message):
    with pytest.raises(ValueError, match=message):
        next(flags.weighted(iter([(X, targets)]), {1: 2.0}))


def test_class_weights_that_are_none():
    refused("--class-weight", "0:1")
    refused("--class-weight", "a=1")


def test_mixed_precision():
    with flags.chosen_device(parsed("--mixed-precision")):
        layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert layer.compute_dtype == "bfloat16"
    assert layer.variable_dtype == "float32"
    assert keras.layers.Dense(2).compute_dtype == "float32"


def test_summary_and_plot(capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        keras.utils, "plot_model", lambda model, file, show_shapes: drawn.append(file)
    )
    model = model_of_classes()
    flags.show(model, parsed("--summary", "--plot-model", "net.png"))
    assert "Total params" in capsys.readouterr().out
    assert drawn == ["net.png"]
    flags.show(model, parsed())
    assert (capsys.readouterr().out, len(drawn)) == ("", 1)


def test_a_plot_that_lacks_its_library(monkeypatch):
    def plot(*_, **__):
        raise ImportError("You must install pydot")

    monkeypatch.setattr(keras.utils, "plot_model", plot)
    with pytest.raises(SystemExit, match="--plot-model: You must install pydot"):
        flags.show(model_of_classes(), parsed("--plot-model", "net.png"))


def test_batch_size():
    assert parsed().batch_size == 4
    assert flags.global_batch_size(parsed("--batch-size", "7")) == 7
    refused("--batch-size", "0")
    refused("--batch-size", "7", batch_size=None)


def test_each_gpu_takes_a_batch(monkeypatch):
    monkeypatch.setattr(devices, "available_gpus", lambda: 2)
    args = parsed("--gpus", "0,1", "--batch-size", "8")
    assert args.gpus == [0, 1]
    assert flags.global_batch_size(args) == 16
    assert parsed("--gpus", "all").gpus == [0, 1]
    assert parsed("--gpu=1").gpus == [1]
    refused("--gpus", "2")
    refused("--gpus", "first")
    refused("--gpus", "0,1", batch_size=None)


def test_without_a_gpu_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(devices, "available_gpus", lambda: 0)
    with flags.chosen_device(parsed("--gpus", "1", "--memory-limit", "100")):
        assert model_of_classes().predict_on_batch(X).shape == (4, 2)
    assert "there is no GPU here" in capsys.readouterr().out


def test_cpu_comes_before_gpus(monkeypatch, capsys):
    monkeypatch.setattr(devices, "available_gpus", lambda: 2)
    with flags.chosen_device(parsed("--cpu", "--gpus", "1")):
        assert model_of_classes().predict_on_batch(X).shape == (4, 2)
    assert "--cpu is given" in capsys.readouterr().out


def test_what_a_backend_cannot_do(monkeypatch):
    monkeypatch.setattr(devices, "available_gpus", lambda: 2)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    refused = pytest.raises(SystemExit, match="XLA_PYTHON_CLIENT_MEM_FRACTION")
    with refused, devices.device_scope(memory_limit=100):
        pass
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(SystemExit, match="one GPU"):
        devices.parallel(["gpu:0", "gpu:1"])
