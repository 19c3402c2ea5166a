"""Caffe's learning rate policies as schedules of the iteration.

Each is a branch of SGDSolver::GetLearningRate (sgd_solver.cpp), or of a fork's, computed
in 32-bit floats as there. An iteration is one update of the weights, counted from 0.
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
    """lr_policy "poly": base_lr * (1 - iteration / max_iter) ^ power.

    With NVIDIA's `min_lr` it ends there rather than at 0.
    """

    power: float
    max_iter: int
    min_lr: float = 0.0

    def __call__(self, step):
        least = _float32(self.min_lr)
        span = _float32(_float32(self.base_lr) - least)
        return span * self.factor(ops.convert_to_tensor(step)) + least

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


@_registered
@dataclasses.dataclass(frozen=True)
class MultiFixed(CaffeSchedule):
    """lr_policy "multifixed" of Intel's Caffe: `stagelr[i]` up to iteration `stageiter[i]`.

    After the last stage its rate stays (intel/caffe, sgd_solver.cpp). `base_lr` is for a
    warm-up alone.
    """

    stagelr: list
    stageiter: list

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        rate = ops.convert_to_tensor(_float32(self.stagelr[-1]))
        for value, end in zip(
            self.stagelr[-2::-1], self.stageiter[-2::-1], strict=True
        ):
            rate = ops.where(step <= end, _float32(value), rate)
        return rate


@dataclasses.dataclass(frozen=True)
class ChangedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule with a change that any policy may have."""

    schedule: CaffeSchedule

    def get_config(self):
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        serialize = keras.optimizers.schedules.serialize
        return {**config, "schedule": serialize(self.schedule)}

    @classmethod
    def from_config(cls, config):
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(**{**config, "schedule": schedule})


@_registered
@dataclasses.dataclass(frozen=True)
class RampUp(ChangedSchedule):
    """`rampup_interval` of NVIDIA's Caffe: a square from `rampup_lr` up to base_lr.

    (NVIDIA/caffe, sgd_solver.cpp, GetLearningRate.)
    """

    rampup_interval: int
    rampup_lr: float = 0.0

    def __call__(self, step):
        start, base = _float32(self.rampup_lr), _float32(self.schedule.base_lr)
        done = ops.cast(step, "float32") / _float32(self.rampup_interval)
        risen = start + _float32(base - start) * done * done
        return ops.where(step < self.rampup_interval, risen, self.schedule(step))


@_registered
@dataclasses.dataclass(frozen=True)
class WarmUp(ChangedSchedule):
    """`warmup_iter` of Intel's Caffe: a line from `warmup_start_lr` up to base_lr.

    (intel/caffe, sgd_solver.cpp, GetWarmUpLR.)
    """

    warmup_iter: int
    warmup_start_lr: float = 0.0

    def __call__(self, step):
        start, base = _float32(self.warmup_start_lr), _float32(self.schedule.base_lr)
        done = ops.cast(step, "float32")
        length = _float32(self.warmup_iter)
        risen = (done * base + (length - done) * start) / length
        return ops.where(step < self.warmup_iter, risen, self.schedule(step))


@_registered
@dataclasses.dataclass(frozen=True)
class AtLeast(ChangedSchedule):
    """`min_lr` of NVIDIA's Caffe, below which no policy goes."""

    min_lr: float

    def __call__(self, step):
        return ops.maximum(self.schedule(step), _float32(self.min_lr))


def _gamma_power(gamma, exponent):
    return ops.power(_float32(gamma), ops.cast(exponent, "float32"))
