"""train.py: all that a solver says, as settings, compile() and fit()."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from caffe2k.codegen.data_script import DataScript
from caffe2k.codegen.literals import prose
from caffe2k.codegen.program import Argument, Call, Program, runtime
from caffe2k.codegen.solver_checks import POLICIES, SOLVERS
from caffe2k.codegen.templates import render as render_template
from caffe2k.diagnostics import Diagnostics
from caffe2k.schema.message import Message

Multipliers = Mapping[tuple[str, str], tuple[float, float]]
"""(Keras layer, weight) -> lr_mult and decay_mult."""


@dataclass(frozen=True)
class Setting:
    """A constant of train.py: a field of the solver, and what to write beside it.

    `source` is the place that sets it, with the comment there; empty for a default.
    """

    name: str
    value: Argument
    source: str = ""
    comments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Optimizer:
    """The optimizer of caffe_runtime and its schedule.

    Arguments are (parameter, constant of train.py); BASE_LR comes first by itself.
    """

    name: str
    arguments: tuple[tuple[str, str], ...]
    schedule: str
    schedule_arguments: tuple[tuple[str, str], ...]
    comments: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainScript:
    """The whole context of templates/train.py.j2.

    `imports` maps a module to the names that are imported from it, both sorted.
    `multipliers` is what resolve_multipliers takes, empty where all are 1.
    `average_loss`, `snapshot` and the like say whether there is such a setting.
    `missing_data` names the functions of data.py that its user has to write.
    """

    solver_name: str
    imports: Mapping[str, Sequence[str]]
    settings: tuple[Setting, ...]
    notes: tuple[str, ...]
    optimizer: Optimizer
    multipliers: Mapping[str, Call | Mapping[str, Call]]
    has_losses: bool
    has_loss_weights: bool
    has_metrics: bool
    tests: bool
    test_initialization: bool
    displays: bool
    average_loss: bool
    snapshots: bool
    snapshot: bool
    snapshot_after_train: bool
    iter_size: bool
    random_seed: bool
    missing_data: tuple[str, ...]


def render(script: TrainScript) -> str:
    """train.py, not yet formatted. Every string of `script` becomes a Python literal."""
    return render_template("train.py.j2", script)


def train_script(
    solver: Message,
    solver_name: str,
    multipliers: Multipliers,
    program: Program,
    data: DataScript,
    diagnostics: Diagnostics,
) -> str:
    """The text of train.py for an upgraded SolverParameter.

    It must have passed `check_solver`. What train.py can't do is added to `diagnostics`.
    """
    functions = {function.name for function in data.functions}
    tests = bool(solver.test_iter) and solver.test_interval > 0
    if tests and functions and "test_data" not in functions:
        tests = False
        diagnostics.warning(
            "no-test-data",
            "`test_iter` is set, but the net has no data in its TEST phase",
            solver.span_of("test_iter"),
            help="train.py does not test; Caffe would refuse to start",
        )
    return render(
        _SolverReader(solver, solver_name, tests).script(
            multipliers, program, functions
        )
    )


class _SolverReader:
    """Turns a solver's fields into the parts of a TrainScript."""

    def __init__(self, solver: Message, solver_name: str, tests: bool) -> None:
        self.solver = solver
        self.solver_name = solver_name
        self.tests = tests
        self.displays = solver.display != 0
        self.snapshots = solver.snapshot != 0 or solver.snapshot_after_train
        self.optimizer = self._optimizer()
        self.settings = self._settings()

    def script(
        self, multipliers: Multipliers, program: Program, functions: set[str]
    ) -> TrainScript:
        names = {setting.name for setting in self.settings}
        needed = ("train_data", "test_data") if self.tests else ("train_data",)
        compact = compact_multipliers(multipliers)
        weighted = any(term.weight != 1 for term in program.losses)
        model = {
            "LOSS_WEIGHTS": weighted,
            "build_model": True,
            "losses": bool(program.losses),
            "metrics": bool(program.metrics),
        }
        return TrainScript(
            solver_name=self.solver_name,
            imports={
                **self._runtime_imports(bool(compact)),
                "data": sorted(needed),
                "model": [name for name, used in model.items() if used],
            },
            settings=self.settings,
            notes=tuple(self._notes()),
            optimizer=self.optimizer,
            multipliers=compact,
            has_losses=model["losses"],
            has_loss_weights=weighted,
            has_metrics=model["metrics"],
            tests=self.tests,
            test_initialization="TEST_INITIALIZATION" in names,
            displays=self.displays,
            average_loss="AVERAGE_LOSS" in names,
            snapshots=self.snapshots,
            snapshot="SNAPSHOT" in names,
            snapshot_after_train="SNAPSHOT_AFTER_TRAIN" in names,
            iter_size="ITER_SIZE" in names,
            random_seed="RANDOM_SEED" in names,
            missing_data=tuple(name for name in needed if name not in functions),
        )

    def _runtime_imports(self, multipliers: bool) -> dict[str, list[str]]:
        callbacks = {
            "Display": self.displays,
            "Evaluation": self.tests,
            "Snapshot": self.snapshots,
            "StopAt": True,
            "evaluate": self.tests,
        }
        imports = {
            "callbacks": [name for name, used in callbacks.items() if used],
            "finetune": ["load_caffe_weights"],
            "multipliers": ["Multiplier", "resolve_multipliers"] if multipliers else [],
            "optimizers": [self.optimizer.name],
            "schedules": [self.optimizer.schedule],
        }
        return {f"caffe_runtime.{m}": names for m, names in imports.items() if names}

    def _optimizer(self) -> Optimizer:
        name, own = SOLVERS.get(self.solver.type, SOLVERS["SGD"])
        schedule, policy = POLICIES.get(self.solver.lr_policy, POLICIES["fixed"])
        fields = [*own, "weight_decay", "regularization_type"]
        if self.solver.clip_gradients >= 0:
            fields.append("clip_gradients")
        fields.append("iter_size")
        chosen = [f for f in ("type", "lr_policy") if self.solver.has(f)]
        return Optimizer(
            name,
            tuple((f, f.upper()) for f in fields if self.solver.has(f)),
            schedule,
            tuple((f, f.upper()) for f in policy),
            tuple(line for field in chosen for line in self._choice(field)),
        )

    def _choice(self, field: str) -> tuple[str, ...]:
        """A field that became the name of a class, with the comments above it."""
        chosen = f'{field}: "{prose(getattr(self.solver, field))}"'
        return (*self._comments(field), f"{chosen} ({self._place(field)})")

    def _settings(self) -> tuple[Setting, ...]:
        """The settings that train.py uses, in the solver's order, unset ones last."""
        solver = self.solver
        used = ["base_lr", "max_iter"]
        used += [f for f, _ in self.optimizer.arguments]
        used += [f for f, _ in self.optimizer.schedule_arguments if f not in used]
        if self.tests:
            used += ["test_iter", "test_interval"]
            used += ["test_initialization"] if solver.has("test_initialization") else []
        if self.displays:
            used += ["display"]
            used += ["average_loss"] if solver.has("average_loss") else []
        if self.snapshots:
            used += ["snapshot_prefix"]
            optional = ("snapshot", "snapshot_after_train")
            used += [f for f in optional if solver.has(f)]
        if solver.random_seed >= 0:
            used.append("random_seed")
        in_order = list(dict.fromkeys(f for f, _ in solver.entries() if f in used))
        in_order += [f for f in used if f not in in_order]
        return tuple(map(self._setting, in_order))

    def _setting(self, field: str) -> Setting:
        entries = self.solver.entries_of(field)
        source = self._place(field) if entries else ""
        trailing = " ".join(e.trailing for e in entries if e.trailing)
        return Setting(
            field.upper(),
            self._value(field),
            f"{source}: {trailing}" if trailing else source,
            self._comments(field),
        )

    def _value(self, field: str) -> Argument:
        value: Argument = getattr(self.solver, field)
        if field == "test_iter":
            return self.solver.test_iter[0]
        if field == "snapshot_prefix":
            return self._snapshot_prefix()
        if field == "random_seed":
            # Caffe's random number generator takes the lower 32 bits.
            return self.solver.random_seed % 2**32
        return value

    def _snapshot_prefix(self) -> str:
        """UpgradeSnapshotPrefixProperty (upgrade_proto.cpp): the solver's own name."""
        prefix: str = self.solver.snapshot_prefix
        if prefix and not prefix.endswith("/"):
            return prefix
        return prefix + (PurePosixPath(self.solver_name).stem or "solver")

    def _comments(self, field: str) -> tuple[str, ...]:
        return tuple(c for e in self.solver.entries_of(field) for c in e.comments)

    def _notes(self) -> Iterator[str]:
        """What stands in the solver and has no counterpart among the settings."""
        solver = self.solver
        if solver.has("solver_mode"):
            yield (
                f"solver_mode: {solver.solver_mode} ({self._place('solver_mode')}): Keras "
                "takes a GPU if there is one, unless --cpu"
            )
        if solver.device_id:
            yield (
                f"device_id: {solver.device_id} ({self._place('device_id')}): "
                f"CUDA_VISIBLE_DEVICES={solver.device_id} python train.py"
            )

    def _place(self, field: str) -> str:
        span = self.solver.span_of(field)
        name = prose(self.solver_name)
        return name if span is None else f"{name}:{span.line}"


_DEFAULT = (1.0, 1.0)


def compact_multipliers(multipliers: Multipliers) -> dict[str, Call | dict[str, Call]]:
    """What resolve_multipliers takes: the usual values by weight, then the exceptions.

    A weight that is called like a layer has no usual value: the keys would be the same.
    """
    layers = {layer for layer, _ in multipliers}
    values: dict[str, Counter[tuple[float, float]]] = {}
    for (_, weight), value in multipliers.items():
        values.setdefault(weight, Counter())[value] += 1
    usual = {
        weight: max(counts, key=lambda value: (counts[value], value == _DEFAULT))
        for weight, counts in values.items()
        if weight not in layers
    }
    compact: dict[str, Call | dict[str, Call]] = {
        weight: _multiplier(*value)
        for weight, value in usual.items()
        if value != _DEFAULT
    }
    exceptions: dict[str, dict[str, Call]] = {}
    for (layer, weight), value in multipliers.items():
        if value != usual.get(weight, _DEFAULT):
            exceptions.setdefault(layer, {})[weight] = _multiplier(*value)
    return compact | exceptions


def _multiplier(lr: float, decay: float) -> Call:
    settings = {"lr": lr, "decay": decay}
    return Call(
        runtime("multipliers", "Multiplier"),
        kwargs=tuple((k, _short(v)) for k, v in settings.items() if v != 1),
    )


def _short(number: float) -> float:
    """2 rather than 2.0."""
    return int(number) if number == int(number) else number
