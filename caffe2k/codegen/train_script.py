"""train.py: all that a solver says, as settings, compile() and fit()."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from caffe2k.codegen.data_script import DataScript
from caffe2k.codegen.flag_defaults import NO_DEFAULTS, FlagDefaults
from caffe2k.codegen.literals import prose
from caffe2k.codegen.log_outputs import needs_forward
from caffe2k.codegen.logged_nets import ONE_TEST, LoggedNets, TestNet, compile_arguments
from caffe2k.codegen.multipliers import Multipliers, compact_multipliers
from caffe2k.codegen.program import Argument, Call, Program
from caffe2k.codegen.templates import render as render_template
from caffe2k.codegen.update_rule import UpdateRule, update_rule
from caffe2k.diagnostics import Diagnostics
from caffe2k.schema.message import Message


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
class TrainScript:
    """The whole context of templates/train.py.j2.

    `imports` maps a module to the names that are imported from it, both sorted.
    `multipliers` is what resolve_multipliers takes, empty where all are 1.
    `choices` are the comments above the optimizer. `average_loss`, `snapshot` and the
    like say whether there is such a setting, `needs_forward` whether Keras's logs lack
    some of `train_outputs`.
    `missing_data` names the functions of data.py that its user has to write, `functions`
    the others; `reads_tests` says if a test net has one of them, `batch_size` if the
    training data has one. `varying` are the inputs of the model that differ in size
    from batch to batch. `detecting` are the test nets that eval_type detection measures,
    with the `precision_arguments`. `defaults` are those that a command line gives
    to flags, `start` what a training without flags starts from.
    """

    solver_name: str
    imports: Mapping[str, Sequence[str]]
    settings: tuple[Setting, ...]
    notes: tuple[str, ...]
    optimizer: UpdateRule
    choices: tuple[str, ...]
    multipliers: Mapping[str, Call | Mapping[str, Call]]
    compile_arguments: Sequence[str]
    tests: tuple[TestNet, ...]
    detecting: tuple[TestNet, ...]
    precision_arguments: Sequence[str]
    test_initialization: bool
    displays: bool
    debug_info: bool
    shows: bool
    train_outputs: tuple[Call, ...]
    needs_forward: bool
    average_loss: bool
    snapshots: bool
    snapshot: bool
    snapshot_after_train: bool
    iter_size: bool
    random_seed: bool
    missing_data: tuple[str, ...]
    functions: set[str]
    reads_tests: bool
    batch_size: bool
    train_data_arguments: Sequence[str]
    varying: Mapping[str, int]
    defaults: Sequence[str]
    defaults_source: str
    start: str
    has_files: bool


_PRECISION = {
    "ap_version": "AP_VERSION",
    "show_per_class_result": "per_class=SHOW_PER_CLASS_RESULT",
}
"""The solver's fields that tests of detections take, as arguments of MeanPrecision."""


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
    logged: LoggedNets = ONE_TEST,
    defaults: FlagDefaults = NO_DEFAULTS,
) -> str:
    """The text of train.py for an upgraded SolverParameter.

    It must have passed `check_solver`. What train.py can't do is added to `diagnostics`.
    """
    functions = {function.name for function in data.functions}
    tests = logged.tests if solver.test_iter and solver.test_interval > 0 else ()
    if functions and any(net.function not in functions for net in tests):
        tests = ()
        diagnostics.warning(
            "no-test-data",
            "`test_iter` is set, but the net has no data in its TEST phase",
            solver.span_of("test_iter"),
            help="train.py does not test; Caffe would refuse to start",
        )
    detecting = _detecting(solver, tests, program)
    if tests and solver.eval_type == "detection" and not detecting:
        diagnostics.warning(
            "eval-type",
            "tests do not evaluate for detection: the net has no DetectionEvaluate layer",
            solver.span_of("eval_type"),
            help="train.py prints the mean of each output over the batches",
        )
    reader = _SolverReader(solver, solver_name, tests, detecting)
    return render(reader.script(multipliers, program, data, logged.outputs, defaults))


def _detecting(
    solver: Message, tests: tuple[TestNet, ...], program: Program
) -> tuple[TestNet, ...]:
    """The nets whose detections are tested (Solver::TestAll of the SSD fork)."""
    if solver.eval_type != "detection":
        return ()
    return tuple(
        net
        for net in tests
        if any(
            call.target.name == "DetectionEvaluate"
            for call in (net.program or program).calls()
        )
    )


class _SolverReader:
    """Turns a solver's fields into the parts of a TrainScript."""

    def __init__(
        self,
        solver: Message,
        solver_name: str,
        tests: tuple[TestNet, ...],
        detecting: tuple[TestNet, ...],
    ) -> None:
        self.solver = solver
        self.solver_name = solver_name
        self.tests = tests
        self.detecting = detecting
        self.displays = solver.display != 0
        self.debug_info = self.displays and solver.debug_info
        self.snapshots = solver.snapshot != 0 or solver.snapshot_after_train
        self.rule = update_rule(solver)
        self.settings = self._settings()

    def script(
        self,
        multipliers: Multipliers,
        program: Program,
        data: DataScript,
        outputs: tuple[Call, ...],
        defaults: FlagDefaults,
    ) -> TrainScript:
        names = {setting.name for setting in self.settings}
        functions = {function.name for function in data.functions}
        needed = ["train_data", *(net.function for net in self.tests)]
        batch_size = any(
            f.name == "train_data" and f.batch_size for f in data.functions
        )
        arguments = ["batch_size=global_batch_size(args)"] if batch_size else []
        if "train_data" in functions:
            arguments.append("**data_options(args, seed)")
        axis = 1 if data.data_format == "channels_last" else 2
        varying = {
            name: place
            for f in data.functions
            if f.name == "train_data"
            for name, place in f.varying(axis).items()
        }
        compact = compact_multipliers(multipliers)
        weighted = any(term.weight != 1 for term in program.losses)
        model = {
            "LOSS_WEIGHTS": weighted,
            "build_model": True,
            "losses": bool(program.losses),
            "metrics": bool(program.metrics),
        }
        printed = [net.outputs for net in self.tests]
        printed += [outputs] if self.displays else []
        imports = {
            **self._runtime_imports(
                bool(compact), batch_size, bool(varying), bool(functions)
            ),
            "caffe_runtime.training_log": ["Output"] * any(printed) + ["TrainingLog"],
            "data": ["TRAIN_BATCH_SIZE"] * batch_size + sorted(needed),
            "model": [name for name, used in model.items() if used],
        }
        return TrainScript(
            solver_name=self.solver_name,
            imports=dict(sorted(imports.items())),
            settings=self.settings,
            notes=tuple(self._notes()),
            optimizer=self.rule,
            choices=tuple(
                line
                for field in ("type", "lr_policy")
                if self.solver.has(field)
                for line in self._choice(field)
            ),
            multipliers=compact,
            compile_arguments=compile_arguments(program),
            tests=self.tests,
            detecting=self.detecting,
            precision_arguments=[
                argument
                for field, argument in _PRECISION.items()
                if self.solver.has(field)
            ],
            test_initialization="TEST_INITIALIZATION" in names,
            displays=self.displays,
            debug_info=self.debug_info,
            shows=self.displays or bool(self.tests),
            train_outputs=outputs,
            needs_forward=needs_forward(outputs),
            average_loss="AVERAGE_LOSS" in names,
            snapshots=self.snapshots,
            snapshot="SNAPSHOT" in names,
            snapshot_after_train="SNAPSHOT_AFTER_TRAIN" in names,
            iter_size="ITER_SIZE" in names,
            random_seed="RANDOM_SEED" in names,
            missing_data=tuple(name for name in needed if name not in functions),
            functions=functions,
            reads_tests=any(net.function in functions for net in self.tests),
            batch_size=batch_size,
            train_data_arguments=arguments,
            varying=varying,
            defaults=defaults.arguments,
            defaults_source=defaults.source,
            start=defaults.start,
            has_files=defaults.has_files,
        )

    def _runtime_imports(
        self, multipliers: bool, batch_size: bool, varying: bool, data: bool
    ) -> dict[str, list[str]]:
        callbacks = {
            "Display": self.displays,
            "Evaluation": bool(self.tests),
            "LastForward": self.displays,
            "Solve": True,
            "TestNet": bool(self.tests),
        }
        snapshots = {
            "Snapshot": self.snapshots,
            "choose_seed": True,
            "find_snapshot": True,
            "read_place": True,
            "restore": True,
        }
        flags = {
            "add_flags": True,
            "chosen_device": True,
            "flag_callbacks": True,
            "global_batch_size": batch_size,
            "show": True,
            "weighted": True,
        }
        imports = {
            "callbacks": [name for name, used in callbacks.items() if used],
            "data_flags": ["add_data_flags", "data_options"] if data else [],
            "devices": ["for_fit"],
            "finetune": ["load_caffe_weights", "named_files"],
            "flags": [name for name, used in flags.items() if used],
            "mean_precision": ["MeanPrecision"] if self.detecting else [],
            "multipliers": ["Multiplier", "resolve_multipliers"] if multipliers else [],
            "optimizers": [self.rule.optimizer],
            "debug_info": ["DebugInfo"] if self.debug_info else [],
            "plateau": ["Plateau"] if self.rule.plateau else [],
            "run_flags": ["add_run_flags"],
            "schedules": sorted(self.rule.schedules),
            "snapshots": [name for name, used in snapshots.items() if used],
            "streams": ["Stream"],
            "varying": ["any_sizes"] if varying else [],
        }
        return {f"caffe_runtime.{m}": names for m, names in imports.items() if names}

    def _choice(self, field: str) -> tuple[str, ...]:
        """A field that became the name of a class, with the comments above it."""
        chosen = f'{field}: "{prose(getattr(self.solver, field))}"'
        return (*self._comments(field), f"{chosen} ({self._place(field)})")

    def _settings(self) -> tuple[Setting, ...]:
        """The settings that train.py uses, in the solver's order, unset ones last."""
        solver = self.solver
        used = ["base_lr", "max_iter"]
        used += [f for f in self.rule.fields if f not in used]
        if self.tests:
            used += ["test_iter", "test_interval"]
            used += ["test_initialization"] if solver.has("test_initialization") else []
        if self.detecting:
            used += [field for field in _PRECISION if solver.has(field)]
        used += ["display"] if self.displays else []
        if solver.has("average_loss") and (self.displays or self.rule.plateau):
            used += ["average_loss"]
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
            counts = list(self.solver.test_iter)
            return counts[0] if len(self.tests) == 1 else counts
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
