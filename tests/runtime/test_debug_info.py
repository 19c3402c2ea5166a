"""debug_info: what it prints, and that training does not notice."""

import itertools
import re

import keras
import numpy as np
import pytest

from caffe2k.runtime.callbacks import Solve
from caffe2k.runtime.debug_info import DebugInfo
from caffe2k.runtime.multipliers import Multiplier, resolve_multipliers
from caffe2k.runtime.normalization import BatchNorm
from caffe2k.runtime.optimizers import CaffeSGD
from caffe2k.runtime.streams import Stream


def trained(watched, bias_lr=1.0):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(3, name="ip"), BatchNorm(name="bn")]
    layers += [keras.layers.Dropout(0.5, name="drop"), keras.layers.Dense(1, name="y")]
    model = keras.Sequential([keras.Input((2,), name="data"), *layers])
    rates = {"bias": Multiplier(bias_lr)}
    multipliers = resolve_multipliers(model, rates)
    model.compile(CaffeSGD(0.1, multipliers=multipliers), loss="mse")
    rng = np.random.default_rng(0)
    stream = Stream(
        (rng.normal(size=(4, 2)).astype("float32"), np.ones((4, 1), "float32"))
        for _ in itertools.count()
    )
    callbacks = [Solve(3, stream)]
    callbacks += [DebugInfo(2, stream)] if watched else []
    model.fit(
        stream.unused(),
        steps_per_epoch=3,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,
    )
    return [np.asarray(v) for v in model.variables]


def test_lines(capsys):
    with_it = trained(watched=True)
    out = capsys.readouterr().out
    for a, b in zip(with_it, trained(watched=False), strict=True):
        np.testing.assert_array_equal(a, b)
    tops = re.findall(r"\[Forward\] Layer (\w+), top blob data: (\S+)", out)
    assert [name for name, _ in tops] == ["data", "ip", "bn", "drop", "y"] * 2
    first = np.random.default_rng(0).normal(size=(4, 2))
    assert abs(float(tops[0][1]) - np.abs(first).mean()) < 1e-5
    updates = re.findall(
        r"\[Update\] Layer (\w+), param (\w+) data: (\S+); diff: (\S+)", out
    )
    assert len(updates) == 2 * 7
    kernel = with_it[[v.shape for v in with_it].index((2, 3))]
    (_, _, data, diff) = updates[7]
    assert updates[7][:2] == ("ip", "kernel")
    assert abs(float(data) - np.abs(kernel).mean()) < 1e-5
    assert float(diff) > 0


def test_gradients_are_those_of_the_update(capsys):
    """SGD without momentum moves each weight by its gradient times the rate."""
    trained(watched=True, bias_lr=0.0)
    out = capsys.readouterr().out
    gradients = re.findall(r"\[Backward\] Layer (\w+), param (\w+) diff: (\S+)", out)
    names = [(layer, weight) for layer, weight, _ in gradients]
    # In Caffe's order, and without what doesn't learn.
    assert names == [("y", "kernel"), ("ip", "kernel")] * 2
    moved = re.findall(
        r"\[Update\] Layer (\w+), param kernel data: \S+; diff: (\S+)", out
    )
    for (layer, _, gradient), (other, diff) in zip(
        gradients, (moved[1], moved[0], moved[3], moved[2]), strict=True
    ):
        assert layer == other
        assert float(diff) == pytest.approx(0.1 * float(gradient), rel=1e-4)
    norms = re.findall(
        r"All net params \(data, diff\): L1 norm = \(\S+, (\S+)\); L2 norm", out
    )
    sizes = {"y": 3, "ip": 6}
    total = sum(float(g) * sizes[layer] for layer, _, g in gradients[:2])
    assert float(norms[0]) == pytest.approx(total, rel=1e-4)
