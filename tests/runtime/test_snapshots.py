"""Snapshots: the place they hold, and what does not fit. See tests/e2e/test_resume.py."""

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from caffe2k.runtime.callbacks import IterationCallback, Solve
from caffe2k.runtime.optimizers import CaffeAdaGrad, CaffeAdam, CaffeNesterov, CaffeSGD
from caffe2k.runtime.snapshots import (
    LATEST,
    Place,
    Snapshot,
    choose_seed,
    find_snapshot,
    read_place,
    restore,
)
from caffe2k.runtime.streams import Stream


def model_with(optimizer):
    layers = [keras.layers.Dense(2, name="ip"), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer, loss="mse")
    return model


def trained(folder, callbacks=(), **settings):
    """A model after four iterations, and its snapshots."""
    model = model_with(CaffeSGD(0.1, momentum=0.9))
    rng = np.random.default_rng(0)
    stream = Stream(
        (rng.normal(size=(4, 3)).astype("float32"), np.ones((4, 2), "float32"))
        for _ in itertools.count()
    )
    stream.skip(7)
    snapshot = Snapshot(str(folder / "net"), [stream], 5, **settings)
    model.fit(
        stream.unused(),
        steps_per_epoch=4,
        callbacks=[snapshot, *callbacks],
        verbose=0,
        shuffle=False,
    )
    return model


def test_what_a_snapshot_holds(tmp_path):
    model = trained(tmp_path, every=2)
    assert sorted(os.listdir(tmp_path)) == ["net_iter_2.keras", "net_iter_4.keras"]
    path = find_snapshot(LATEST, str(tmp_path / "net"))
    assert path == str(tmp_path / "net_iter_4.keras")
    place = read_place(path)
    assert (place.iteration, place.batches, place.seed) == (4, [7], 5)
    assert len(place.random) == 1
    fresh = model_with(CaffeSGD(0.1, momentum=0.9))
    restore(fresh, path)
    for a, b in zip(model.variables, fresh.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    optimizers = (model.optimizer.variables, fresh.optimizer.variables)
    for a, b in zip(*optimizers, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def dropped_out(folder, snapshot=None):
    """The weights after iteration 8, as train.py comes there from a snapshot or none."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(CaffeSGD(0.1, momentum=0.9), loss="mse")
    rng = np.random.default_rng(0)
    stream = Stream(
        (rng.normal(size=(4, 3)).astype("float32"), np.ones((4, 2), "float32"))
        for _ in itertools.count()
    )
    if snapshot:
        restore(model, snapshot)
        read_place(snapshot).skip([stream])
    callbacks = [Solve(8, stream), Snapshot(str(folder / "net"), [stream], 1, every=3)]
    model.fit(
        stream.unused(),
        steps_per_epoch=4,
        epochs=2,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,
    )
    return model.get_weights()


def test_dropout_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole = dropped_out(tmp_path)
    resumed = dropped_out(tmp_path, str(tmp_path / "net_iter_3.keras"))
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_dropout_goes_on_on_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", "had_not_stopped"],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_a_folder_that_takes_no_file_is_told_before_training():
    begun = []
    begins = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda *_: begun.append(1)
    )
    with pytest.raises(OSError, match="/proc"):
        trained(Path("/proc"), [begins])
    assert not begun


def test_a_snapshot_on_demand(tmp_path):
    class HangUp(IterationCallback):
        def on_iteration_end(self, iteration, logs):
            if iteration == 1:
                os.kill(os.getpid(), signal.SIGHUP)

    before = signal.getsignal(signal.SIGHUP)
    trained(tmp_path, [HangUp()], after_train=False)
    assert os.listdir(tmp_path) == ["net_iter_2.keras"]
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.parametrize("solver", [CaffeAdam, CaffeNesterov, CaffeAdaGrad])
def test_another_solver_type_is_refused(solver, tmp_path):
    """Whether it has as many histories or not."""
    trained(tmp_path)
    with pytest.raises(ValueError, match="is of the solver type SGD, whose history is"):
        restore(model_with(solver(0.1)), str(tmp_path / "net_iter_4.keras"))


def test_another_net_is_refused(tmp_path):
    trained(tmp_path)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="ip")])
    model.compile(CaffeSGD(0.1), loss="mse")
    with pytest.raises(ValueError, match="another net or optimizer"):
        restore(model, str(tmp_path / "net_iter_4.keras"))


def test_what_is_no_snapshot(tmp_path):
    model = model_with(CaffeSGD(0.1))
    model.save(tmp_path / "plain.keras")
    (tmp_path / "text.keras").write_text("text")
    with h5py.File(tmp_path / "weights.h5", "w"):
        pass
    for name in ("plain.keras", "text.keras", "weights.h5"):
        with pytest.raises(ValueError, match="no snapshot to resume from"):
            read_place(str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_place(str(tmp_path / "none.h5"))
    with pytest.raises(FileNotFoundError, match="there is no snapshot"):
        find_snapshot(LATEST, str(tmp_path / "other"))
    assert find_snapshot(None, "net") is None
    assert read_place(None) is None


def test_a_history_of_caffe(tmp_path):
    """In the form that `caffe2k solverstate` writes."""
    path = tmp_path / "caffe.h5"
    kernel, bias = np.arange(6.0).reshape(3, 2), np.array([7.0, 8.0])
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"ip"]
        file.create_group("ip").attrs["weight_names"] = [b"kernel", b"bias"]
        file["ip/kernel"], file["ip/bias"] = kernel, bias
        for slot in range(2):
            file[f"caffe_state/{slot}/ip/kernel"] = kernel * 10**slot
            file[f"caffe_state/{slot}/ip/bias"] = bias * 10**slot
        place = {"iteration": 6, "batches": [12], "seed": None, "type": "Adam"}
        file["caffe_state"].attrs["place"] = json.dumps(place)
    model = model_with(CaffeAdam(0.1, iter_size=2))
    restore(model, str(path))
    assert int(model.optimizer.iterations) == 6
    (mean, _), (square, square_bias) = model.optimizer.histories
    np.testing.assert_array_equal(np.asarray(mean), kernel)
    np.testing.assert_array_equal(np.asarray(square), kernel * 10)
    np.testing.assert_array_equal(np.asarray(square_bias), bias * 10)
    assert read_place(str(path)) == Place(6, [12], type="Adam")
    with pytest.raises(ValueError, match="solver type Adam"):
        restore(model_with(CaffeSGD(0.1)), str(path))
    with h5py.File(path, "a") as file:
        del file["caffe_state/1/ip/bias"]
        file["caffe_state/1/ip/bias"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"has the shape \(3,\)"):
        restore(model, str(path))


def test_seeds():
    assert choose_seed(3, Place(1, [], seed=4)) == 3
    assert choose_seed(None, Place(1, [], seed=4)) == 4
    assert choose_seed(0) == 0
    drawn = {choose_seed(None), choose_seed(None, Place(1, []))}
    assert len(drawn) == 2
    assert all(0 <= seed < 2**32 for seed in drawn)


def test_streams_skip_to_their_place():
    streams = [Stream(itertools.count()), Stream(itertools.count())]
    Place(1, [3, 5]).skip(streams)
    assert [next(stream) for stream in streams] == [3, 5]
    with pytest.raises(ValueError, match="zip"):
        Place(1, [3]).skip(streams)
