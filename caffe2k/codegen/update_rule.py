"""A solver's update rule and learning rate policy as calls in train.py."""

from __future__ import annotations

from dataclasses import dataclass

from caffe2k.codegen.solver_checks import CHANGES, POLICIES, SOLVERS
from caffe2k.schema.message import Message


@dataclass(frozen=True)
class UpdateRule:
    """The optimizer of caffe_runtime and its learning rate.

    `rate` is the expression of the schedule, from the constants of train.py; `arguments`
    are the optimizer's others. `schedules` are the classes in `rate`, `fields` those of
    the solver that are used. `plateau` says that a callback changes the rate.
    """

    optimizer: str
    arguments: tuple[str, ...]
    rate: str
    schedules: frozenset[str]
    fields: tuple[str, ...]
    plateau: bool


def update_rule(solver: Message) -> UpdateRule:
    """The rule of a solver that has passed `check_solver`."""
    optimizer, own = SOLVERS.get(solver.type, SOLVERS["SGD"])
    fields = [*own, "weight_decay", "regularization_type"]
    if solver.clip_gradients >= 0:
        fields.append("clip_gradients")
    fields = [f for f in (*fields, "iter_size") if solver.has(f)]
    name, policy = POLICIES.get(solver.lr_policy, POLICIES["fixed"])
    used, schedules = [*fields, *policy], {name} - {""}
    rate = "BASE_LR"
    if name:
        settings = [*policy]
        if name == "Polynomial" and solver.min_lr > 0:
            settings.append("min_lr")
        rate = f"{name}({', '.join(['BASE_LR', *map(_argument, settings)])})"
    for field, (change, settings_of_change) in CHANGES.items():
        if getattr(solver, field) > 0:
            given = [f for f in settings_of_change if solver.has(f)]
            rate = f"{change}({', '.join([rate, *map(_argument, given)])})"
            schedules.add(change)
            used += given
    return UpdateRule(
        optimizer,
        tuple(map(_argument, fields)),
        rate,
        frozenset(schedules),
        tuple(dict.fromkeys(used)),
        plateau=not name,
    )


def _argument(field: str) -> str:
    return f"{field}={field.upper()}"
