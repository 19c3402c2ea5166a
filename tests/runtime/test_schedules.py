"""The learning rate policies against Caffe's formulas and the rates that Caffe logged."""

import math
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from caffe2k.runtime.schedules import (
    AtLeast,
    Exponential,
    Fixed,
    InverseDecay,
    MultiFixed,
    MultiStep,
    Polynomial,
    RampUp,
    Sigmoid,
    Step,
    WarmUp,
)

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
ITERATIONS = (0, 1, 2, 6, 7, 8, 99, 100, 101, 12345, 399_999)
SCHEDULES = {
    "fixed": (Fixed(0.01), lambda i: 1.0),
    "step": (Step(0.01, 0.5, 7), lambda i: 0.5 ** (i // 7)),
    "exp": (Exponential(0.01, 0.9999), lambda i: float(np.float32(0.9999)) ** i),
    "inv": (
        InverseDecay(0.01, 0.0001, 0.75),
        lambda i: float(np.float32(1) + np.float32(0.0001) * np.float32(i)) ** -0.75,
    ),
    "multistep": (
        MultiStep(0.01, 0.1, [7, 100]),
        lambda i: 0.1 ** ((i >= 7) + (i >= 100)),
    ),
    "poly": (
        Polynomial(0.01, 1.5, 400_000),
        lambda i: float(np.float32(1) - np.float32(i) / np.float32(400_000)) ** 1.5,
    ),
    "sigmoid": (
        Sigmoid(0.01, 0.02, 100),
        lambda i: 1 / (1 + math.exp(0.02 * (100 - i))),
    ),
}


def rate(schedule, iteration):
    result = schedule(iteration)
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    return float(ops.convert_to_numpy(result))


@pytest.mark.parametrize("policy", SCHEDULES)
def test_formula(policy):
    """To a few units in the last place of a 32-bit float."""
    schedule, factor = SCHEDULES[policy]
    for iteration in ITERATIONS:
        expected = np.float32(0.01) * factor(iteration)
        assert rate(schedule, iteration) == pytest.approx(expected, rel=1e-6, abs=1e-38)
        as_variable = keras.Variable(iteration, dtype="int32", trainable=False)
        assert rate(schedule, as_variable) == rate(schedule, iteration)


@pytest.mark.parametrize("policy", SCHEDULES)
def test_config_survives(policy):
    schedule, _ = SCHEDULES[policy]
    config = keras.optimizers.schedules.serialize(schedule)
    copy = keras.optimizers.schedules.deserialize(config)
    assert type(copy) is type(schedule)
    assert copy.get_config() == schedule.get_config()


@pytest.mark.parametrize(
    ("stepvalue", "drops"),
    [
        ([3, 3, 3], [3, 4, 5]),
        ([5, 2], [5, 6]),
        ([0, 0, 4], [0, 1, 4]),
        ([-7, 2], [0, 2]),
        ([], []),
    ],
)
def test_multistep_takes_one_step_an_iteration(stepvalue, drops):
    schedule = MultiStep(1.0, 0.5, stepvalue)
    for iteration in range(8):
        passed = sum(iteration >= drop for drop in drops)
        assert rate(schedule, iteration) == 0.5**passed


def test_gamma_and_power_that_were_not_set_are_zero():
    assert rate(Step(0.1, 0.0, 2), 1) == pytest.approx(0.1)
    assert rate(Step(0.1, 0.0, 2), 2) == 0.0
    assert rate(Polynomial(0.1, 0.0, 10), 10) == pytest.approx(0.1)
    assert rate(InverseDecay(0.1, 0.5, 0.0), 9) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("sample", "schedule"),
    [
        ("digits_lenet", InverseDecay(0.02, 0.0005, 0.75)),
        ("two_inputs_two_outputs", Exponential(0.001, 0.999)),
        ("vqa", Sigmoid(0.003, 0.02, 150)),
        ("video_lrcn", Polynomial(0.1, 1.0, 300)),
        ("resnet_small", MultiStep(0.05, 0.1, [100, 160])),
        ("vgg_like", Step(0.005, 0.1, 150)),
        ("mlp_784", Fixed(0.001)),
    ],
)
def test_prints_what_caffe_logged(sample, schedule):
    log = SAMPLES / sample / "caffe.log"
    if not log.exists():
        pytest.skip("the samples are not here")
    logged = re.findall(r"Iteration (\d+), lr = (\S+)", log.read_text())
    assert len(logged) >= 10
    for iteration, printed in logged:
        assert f"{rate(schedule, int(iteration)):.6g}" == printed


def test_multifixed_keeps_a_rate_up_to_its_iteration():
    schedule = MultiFixed(9.0, stagelr=[0.1, 0.01, 0.5], stageiter=[2, 4, 5])
    found = [float(schedule(i)) for i in range(8)]
    assert found == pytest.approx([0.1] * 3 + [0.01] * 2 + [0.5] * 3)


def test_polynomial_ends_at_min_lr():
    schedule = Polynomial(1.0, power=2.0, max_iter=4, min_lr=0.2)
    expected = [0.8 * (1 - i / 4) ** 2 + 0.2 for i in range(5)]
    assert [float(schedule(i)) for i in range(5)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (RampUp(Step(1.0, 0.5, 4), 3, 0.1), [0.1, 0.2, 0.5, 1, 0.5, 0.5, 0.5, 0.5]),
        (RampUp(Fixed(1.0), 2), [0, 0.25, 1, 1, 1, 1, 1, 1]),
        (WarmUp(Fixed(1.0), 4, 0.2), [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1]),
        (AtLeast(Step(1.0, 0.5, 2), 0.3), [1, 1, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]),
        (
            AtLeast(RampUp(Fixed(1.0), 2), 0.1),
            [0.1, 0.25, 1, 1, 1, 1, 1, 1],
        ),
    ],
)
def test_what_forks_add_to_any_policy(change, expected):
    assert [float(change(i)) for i in range(8)] == pytest.approx(expected)
    config = keras.optimizers.schedules.serialize(change)
    assert keras.optimizers.schedules.deserialize(config) == change
