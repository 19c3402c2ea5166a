"""Caffe's learning rate policies as schedules of the iteration.

Each is a branch of SGDSolver::GetLearningRate (sgd_solver.cpp), computed in 32-bit
floats as there. An iteration is one update of the weights, counted from 0.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

_registered = keras.saving.register_keras_serializable("caffe_runtime")


def _float32(value):
    """`value` rounded to Caffe's 32 bits, still a Python number."""
    return float(np.float32(value))


@dataclasses.dataclass(frozen=True)
class CaffeSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """`base_lr` times a factor that depends on the iteration."""

    base_lr: float

    def __call__(self, step):
        """The learning rate at iteration `step`, a float32 scalar."""
        return _float32(self.base_lr) * self.factor(ops.convert_to_tensor(step))

    def factor(self, iteration):
        """What `base_lr` is multiplied with at `iteration`, an integer scalar."""
        raise NotImplementedError

    def get_config(self):
        return dataclasses.asdict(self)


@_registered
@dataclasses.dataclass(frozen=True)
class Fixed(CaffeSchedule):
    """lr_policy "fixed": base_lr."""

    def factor(self, iteration):
        return ops.ones((), "float32")


@_registered
@dataclasses.dataclass(frozen=True)
class Step(CaffeSchedule):
    """lr_policy "step": base_lr * gamma ^ floor(iteration / stepsize)."""

    gamma: float
    stepsize: int

    def factor(self, iteration):
        return _gamma_power(self.gamma, ops.floor_divide(iteration, self.stepsize))


@_registered
@dataclasses.dataclass(frozen=True)
class Exponential(CaffeSchedule):
    """lr_policy "exp": base_lr * gamma ^ iteration."""

    gamma: float

    def factor(self, iteration):
        return _gamma_power(self.gamma, iteration)


@_registered
@dataclasses.dataclass(frozen=True)
class InverseDecay(CaffeSchedule):
    """lr_policy "inv": base_lr * (1 + gamma * iteration) ^ -power."""

    gamma: float
    power: float

    def factor(self, iteration):
        base = 1.0 + _float32(self.gamma) * ops.cast(iteration, "float32")
        return ops.power(base, -_float32(self.power))


@_registered
@dataclasses.dataclass(frozen=True)
class MultiStep(CaffeSchedule):
    """lr_policy "multistep": base_lr * gamma ^ (number of stepvalues passed).

    Caffe takes one step an iteration at most: of equal or unordered stepvalues each
    takes effect at least one iteration after the one before it.
    """

    gamma: float
    stepvalue: list

    def factor(self, iteration):
        passed = ops.zeros((), "float32")
        start = -1
        for stepvalue in self.stepvalue:
            start = max(stepvalue, start + 1)
            reached = ops.cast(ops.greater_equal(iteration, start), "float32")
            passed = passed + reached
        return _gamma_power(self.gamma, passed)


@_registered
@dataclasses.dataclass(frozen=True)
class Polynomial(CaffeSchedule):
    """lr_policy "poly": base_lr * (1 - iteration / max_iter) ^ power."""

    power: float
    max_iter: int

    def factor(self, iteration):
        left = 1.0 - ops.cast(iteration, "float32") / _float32(self.max_iter)
        return ops.power(left, _float32(self.power))


@_registered
@dataclasses.dataclass(frozen=True)
class Sigmoid(CaffeSchedule):
    """lr_policy "sigmoid": base_lr / (1 + exp(-gamma * (iteration - stepsize)))."""

    gamma: float
    stepsize: int

    def factor(self, iteration):
        since = ops.cast(iteration, "float32") - _float32(self.stepsize)
        return 1.0 / (1.0 + ops.exp(-_float32(self.gamma) * since))


def _gamma_power(gamma, exponent):
    return ops.power(_float32(gamma), ops.cast(exponent, "float32"))
