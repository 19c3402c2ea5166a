"""debug_info: what it prints, and that training does not notice."""

import itertools
import re

import keras
import numpy as np

from caffe2k.runtime.callbacks import Solve
from caffe2k.runtime.debug_info import DebugInfo
from caffe2k.runtime.normalization import BatchNorm
from caffe2k.runtime.optimizers import CaffeSGD
from caffe2k.runtime.streams import Stream


def trained(watched):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(3, name="ip"), BatchNorm(name="bn")]
    layers += [keras.layers.Dropout(0.5, name="drop"), keras.layers.Dense(1, name="y")]
    model = keras.Sequential([keras.Input((2,), name="data"), *layers])
    model.compile(CaffeSGD(0.1), loss="mse")
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
