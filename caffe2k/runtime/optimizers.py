"""Caffe's solvers as Keras optimizers: the same numbers update for update.

The order is that of SGDSolver::ApplyUpdate (sgd_solver.cpp): the gradient is summed
over `iter_size` batches, clipped by its global norm, divided by `iter_size`, joined by
the weight decay; then comes the solver's own rule. Weights whose `lr_mult` is 0 take
no part in any of it. On several devices it is the gradient of all of them
(parallel.cpp, NCCL::on_gradients_ready).
"""

import math

import keras
import numpy as np
from keras import ops

from .devices import joined_gradients, separate_devices
from .multipliers import Multiplier

_registered = keras.saving.register_keras_serializable("caffe_runtime")


def _float32(value):
    """`value` rounded to Caffe's 32 bits, still a Python number."""
    return float(np.float32(value))


def _one_minus(value):
    """1 - value, rounded where Caffe rounds: 1 - 0.999f is not 0.001f."""
    return _float32(1.0 - _float32(value))


class CaffeOptimizer(keras.optimizers.Optimizer):
    """What all of Caffe's solvers share; a subclass adds `compute_update_value`.

    `learning_rate` is a number or a schedule; schedules are called with the number of
    updates. `multipliers` has one Multiplier per trainable variable of the model, in
    their order (`resolve_multipliers`); without it each is Multiplier(1, 1).
    `clip_gradients` bounds the L2 norm of the whole gradient, None or a negative number
    leaves it alone. `regularization_type` is "L2" or "L1".
    """

    history_names = ("history",)

    def __init__(
        self,
        learning_rate,
        weight_decay=0.0,
        regularization_type="L2",
        clip_gradients=None,
        iter_size=1,
        multipliers=None,
        name=None,
    ):
        if regularization_type not in ("L1", "L2"):
            raise ValueError(f"unknown regularization_type {regularization_type!r}")
        if isinstance(learning_rate, int):
            learning_rate = float(learning_rate)
        super().__init__(
            learning_rate=learning_rate,
            gradient_accumulation_steps=iter_size if iter_size > 1 else None,
            name=name,
        )
        # Keras's own `weight_decay` would shrink the weights beside the gradient.
        self.caffe_weight_decay = weight_decay
        self.regularization_type = regularization_type
        self.clip_gradients = clip_gradients
        self.iter_size = iter_size
        self.multipliers = multipliers and [Multiplier(*m) for m in multipliers]

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        if self.multipliers is not None and len(self.multipliers) != len(variables):
            raise ValueError(
                f"{len(self.multipliers)} multipliers for {len(variables)} trainable "
                f"variables; resolve_multipliers(model, ...) makes one for each"
            )
        self.histories = [
            [self.add_variable_from_reference(v, name=name) for v in variables]
            for name in self.history_names
        ]

    def apply(self, grads, trainable_variables=None):
        """Updates the weights that learn; the order of `grads` is the variables'."""
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
        trainable_variables = list(trainable_variables)
        self.build(trainable_variables)
        learning = [
            (_dense(g, v), v)
            for g, v in zip(grads, trainable_variables, strict=True)
            if self._multiplier(v).lr != 0
        ]
        if learning:
            grads, variables = zip(*learning, strict=True)
            super().apply(joined_gradients(grads), variables)
        else:
            self._iterations.assign_add(1)

    def resume_at(self, iteration):
        """Goes on as if `iteration` updates had been made."""
        self._iterations.assign(iteration * self.iter_size)

    def _multiplier(self, variable):
        if self.multipliers is None:
            return Multiplier()
        return self.multipliers[self._get_variable_index(variable)]

    def _get_current_learning_rate(self):
        # Keras would give a schedule the number of batches.
        if isinstance(
            self._learning_rate, keras.optimizers.schedules.LearningRateSchedule
        ):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()

    def _clip_gradients(self, grads):
        # Caffe clips the sum over iter_size; Keras has divided it by then.
        if self.clip_gradients is None or self.clip_gradients < 0:
            return grads
        clip = _float32(self.clip_gradients)
        norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in grads)) * self.iter_size
        scale = ops.where(norm > clip, clip / norm, 1.0)
        return [g * scale for g in grads]

    def _all_reduce_sum_gradients(self, grads_and_vars):
        # Keras's on tensorflow, behind the clipping; `apply` has done it before.
        return grads_and_vars

    def _backend_apply_gradients(self, grads, trainable_variables):
        if not self._updates_always:
            super()._backend_apply_gradients(grads, trainable_variables)
            return
        sums = [
            self._accumulated_gradients[self._get_variable_index(v)]
            for v in trainable_variables
        ]
        pairs = list(zip(grads, sums, strict=True))
        means = [ops.add(g, s) / self.iter_size for g, s in pairs]
        self._backend_update_step(
            self._clip_gradients(means), trainable_variables, self.learning_rate
        )
        changes = [ops.where(self._is_due(), -s, g) for g, s in pairs]
        self._backend_increment_gradient_accumulators(changes, sums)

    @property
    def _updates_always(self):
        """Whether each batch updates the weights, by nothing until `iter_size` are in.

        Keras updates them in a branch, which tf.distribute does not allow.
        """
        return self.iter_size > 1 and separate_devices()

    def _is_due(self):
        return (self._iterations + 1) % self.iter_size == 0

    def update_step(self, gradient, variable, learning_rate):
        multiplier = self._multiplier(variable)
        weight = ops.convert_to_tensor(variable)
        gradient = ops.cast(gradient, weight.dtype)
        rate = ops.cast(learning_rate, weight.dtype) * _float32(multiplier.lr)
        decay = _float32(self.caffe_weight_decay) * _float32(multiplier.decay)
        if decay:
            l1 = self.regularization_type == "L1"
            pull = ops.sign(weight) if l1 else weight
            gradient = gradient + _float32(decay) * pull
        index = self._get_variable_index(variable)
        slots = [history[index] for history in self.histories]
        former = [ops.convert_to_tensor(slot) for slot in slots]
        update, *values = self.compute_update_value(gradient, rate, *former)
        if self._updates_always:
            due = self._is_due()
            update = ops.where(due, update, 0.0)
            values = [ops.where(due, *v) for v in zip(values, former, strict=True)]
        for slot, value in zip(slots, values, strict=True):
            self.assign(slot, value)
        self.assign_sub(variable, update)

    def compute_update_value(self, gradient, rate, *history):
        """What is subtracted from the weight, then the new value of each history."""
        raise NotImplementedError

    def get_config(self):
        base = super().get_config()
        return {
            "name": base["name"],
            "learning_rate": base["learning_rate"],
            "weight_decay": self.caffe_weight_decay,
            "regularization_type": self.regularization_type,
            "clip_gradients": self.clip_gradients,
            "iter_size": self.iter_size,
            "multipliers": self.multipliers and [list(m) for m in self.multipliers],
        }


@_registered
class CaffeSGD(CaffeOptimizer):
    """SGDSolver: history = momentum * history + rate * gradient."""

    def __init__(self, learning_rate, momentum=0.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.momentum = momentum

    def compute_update_value(self, gradient, rate, history):
        history = rate * gradient + _float32(self.momentum) * history
        return history, history

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


@_registered
class CaffeNesterov(CaffeSGD):
    """NesterovSolver: steps back by the old history and over by the new one."""

    def compute_update_value(self, gradient, rate, history):
        momentum = _float32(self.momentum)
        new = rate * gradient + momentum * history
        return _float32(1.0 + momentum) * new - momentum * history, new


@_registered
class CaffeAdaGrad(CaffeOptimizer):
    """AdaGradSolver: the history sums squared gradients."""

    def __init__(self, learning_rate, delta=1e-8, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.delta = delta

    def compute_update_value(self, gradient, rate, history):
        history = history + ops.square(gradient)
        return rate * (gradient / (ops.sqrt(history) + _float32(self.delta))), history

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


@_registered
class CaffeRMSProp(CaffeOptimizer):
    """RMSPropSolver: the history averages squared gradients."""

    def __init__(self, learning_rate, rms_decay=0.99, delta=1e-8, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.rms_decay = rms_decay
        self.delta = delta

    def compute_update_value(self, gradient, rate, history):
        history = _average(history, ops.square(gradient), self.rms_decay)
        return rate * (gradient / (ops.sqrt(history) + _float32(self.delta))), history

    def get_config(self):
        return {
            **super().get_config(),
            "rms_decay": self.rms_decay,
            "delta": self.delta,
        }


@_registered
class CaffeAdaDelta(CaffeOptimizer):
    """AdaDeltaSolver: averages squared gradients and squared updates."""

    history_names = ("history", "update_history")

    def __init__(self, learning_rate, momentum=0.0, delta=1e-8, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.momentum = momentum
        self.delta = delta

    def compute_update_value(self, gradient, rate, history, updates):
        delta = _float32(self.delta)
        history = _average(history, ops.square(gradient), self.momentum)
        update = gradient * ops.sqrt((delta + updates) / (delta + history))
        return (
            rate * update,
            history,
            _average(updates, ops.square(update), self.momentum),
        )

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "delta": self.delta}


@_registered
class CaffeAdam(CaffeOptimizer):
    """AdamSolver: averages gradients and their squares, corrected for their start."""

    history_names = ("history", "square_history")

    def __init__(
        self, learning_rate, momentum=0.0, momentum2=0.999, delta=1e-8, **kwargs
    ):
        super().__init__(learning_rate, **kwargs)
        self.momentum = momentum
        self.momentum2 = momentum2
        self.delta = delta

    def compute_update_value(self, gradient, rate, mean, square):
        mean = _average(mean, gradient, self.momentum)
        square = _average(square, ops.square(gradient), self.momentum2)
        updates = ops.cast(self.iterations, gradient.dtype) + 1.0
        correction = ops.sqrt(_one_minus_power(self.momentum2, updates))
        correction = correction / _one_minus_power(self.momentum, updates)
        update = mean / (ops.sqrt(square) + _float32(self.delta))
        return rate * correction * update, mean, square

    def get_config(self):
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "momentum2": self.momentum2,
            "delta": self.delta,
        }


def _dense(gradient, variable):
    """The gradient as a plain tensor: without one it is zero, and the weight decays.

    TensorFlow gives a table lookup's as a list of rows, in which rows may repeat.
    """
    zeros = ops.zeros_like(ops.convert_to_tensor(variable))
    return zeros if gradient is None else ops.add(zeros, gradient)


def _average(history, value, decay):
    """The running average that keeps the share `decay` of its past."""
    return _one_minus(decay) * value + _float32(decay) * history


def _one_minus_power(base, exponent):
    """1 - base ^ exponent, without cancellation where base is nearly 1."""
    logarithm = math.log(_float32(base)) if base > 0 else -math.inf
    return -ops.expm1(exponent * logarithm)
