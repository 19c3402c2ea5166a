"""What a solver may say: Caffe's update rules and policies, and what Caffe refuses."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics, did_you_mean
from caffe2k.schema.message import Message

SOLVERS = {
    "SGD": ("CaffeSGD", ("momentum",)),
    "Nesterov": ("CaffeNesterov", ("momentum",)),
    "AdaGrad": ("CaffeAdaGrad", ("delta",)),
    "RMSProp": ("CaffeRMSProp", ("rms_decay", "delta")),
    "AdaDelta": ("CaffeAdaDelta", ("momentum", "delta")),
    "Adam": ("CaffeAdam", ("momentum", "momentum2", "delta")),
}
"""`type` -> its class in runtime/optimizers.py, and the fields that are its own."""

HISTORIES = {"AdaDelta": 2, "Adam": 2}
"""How many histories a solver keeps of each parameter, where it isn't one."""

POLICIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fixed": ("Fixed", ()),
    "step": ("Step", ("gamma", "stepsize")),
    "exp": ("Exponential", ("gamma",)),
    "inv": ("InverseDecay", ("gamma", "power")),
    "multistep": ("MultiStep", ("gamma", "stepvalue")),
    "poly": ("Polynomial", ("power", "max_iter")),
    "sigmoid": ("Sigmoid", ("gamma", "stepsize")),
    "multifixed": ("MultiFixed", ("stagelr", "stageiter")),
    "plateau": ("", ("gamma", "plateau_winsize")),
}
"""`lr_policy` -> its class in runtime/schedules.py, and the fields that it reads.

Without a class it is a callback, which watches the loss.
"""

CHANGES = {
    "warmup_iter": ("WarmUp", ("warmup_iter", "warmup_start_lr")),
    "rampup_interval": ("RampUp", ("rampup_interval", "rampup_lr")),
    "min_lr": ("AtLeast", ("min_lr",)),
}
"""What forks add to any policy: the field that asks for it, its class, its fields."""

_KNOWN = {
    # Which nets, in which states: read where the nets are found.
    "net",
    "net_param",
    "train_net",
    "train_net_param",
    "test_net",
    "test_net_param",
    "train_state",
    "test_state",
    # Settings of train.py.
    "type",
    "base_lr",
    "lr_policy",
    "gamma",
    "power",
    "stepsize",
    "stepvalue",
    "stagelr",
    "stageiter",
    "plateau_winsize",
    "warmup_iter",
    "warmup_start_lr",
    "rampup_interval",
    "rampup_lr",
    "min_lr",
    "momentum",
    "momentum2",
    "rms_decay",
    "delta",
    "weight_decay",
    "regularization_type",
    "clip_gradients",
    "iter_size",
    "max_iter",
    "test_iter",
    "test_interval",
    "test_initialization",
    "display",
    "average_loss",
    "snapshot",
    "snapshot_prefix",
    "snapshot_after_train",
    "random_seed",
    "debug_info",
    "solver_mode",
    "device_id",
    # Files that are ported along.
    "weights",
    # Said to be different.
    "snapshot_diff",
    "eval_type",
    # Without effect: snapshots have Keras's format, and tests always give the loss.
    "snapshot_format",
    "test_compute_loss",
    "layer_wise_reduce",
    "show_per_class_result",
    "ap_version",
}


_TRAIN_NETS = ("net", "net_param", "train_net", "train_net_param")

_EXAMPLES = {
    "gamma": 0.1,
    "stepsize": 10000,
    "momentum": 0,
    "rms_decay": 0.98,
    "average_loss": 1,
    "max_iter": 10000,
    "iter_size": 1,
    "test_interval": 500,
}
"""A number that Caffe takes for each setting that it may refuse."""


def check_solver(solver: Message, diagnostics: Diagnostics) -> None:
    """Adds what Caffe would refuse, what differs from Caffe, and what is not supported."""
    checks = _Checks(solver, diagnostics)
    checks.names()
    checks.numbers()
    checks.nets()
    checks.differences()
    for field, entry in solver.entries():
        if field not in _KNOWN:
            diagnostics.error(
                "unsupported-option",
                f"`{field}` of the solver is not supported",
                entry.span,
                help="remove it if training does not need it",
            )


class _Checks:
    def __init__(self, solver: Message, diagnostics: Diagnostics) -> None:
        self.solver = solver
        self.diagnostics = diagnostics

    def names(self) -> None:
        """The registry of solvers; the branches of GetLearningRate and Regularize."""
        self._choice("type", "solver type", list(SOLVERS))
        self._choice("lr_policy", "lr_policy", list(POLICIES))
        if self.solver.weight_decay:
            self._choice("regularization_type", "regularization_type", ["L1", "L2"])
        self._choice("eval_type", "eval_type", ["classification", "detection"])
        if self.solver.eval_type == "detection":
            versions = ["11point", "MaxIntegral", "Integral"]
            self._choice("ap_version", "ap_version", versions)

    def _choice(self, field: str, what: str, choices: list[str]) -> None:
        chosen: str = getattr(self.solver, field)
        if chosen in choices or field in self.solver.lost:
            return
        found = f"unknown {what} `{chosen}`" if chosen else f"the solver has no {what}"
        self.diagnostics.error(
            f"unknown-{what.replace('_', '-').replace(' ', '-')}",
            found,
            self.solver.span_of(field),
            help=did_you_mean(chosen, choices) or f"choose one of {', '.join(choices)}",
        )

    def numbers(self) -> None:
        """The CHECKs of solver.cpp, sgd_solver.cpp and sgd_solvers.hpp."""
        solver = self.solver
        _, policy = POLICIES.get(solver.lr_policy, ("", ()))
        if "gamma" in policy:
            self._require("gamma", solver.gamma >= 0, "at least 0")
        if "stepsize" in policy:
            positive = solver.stepsize > 0
            self._require("stepsize", positive, "greater than 0", because="lr_policy")
        self._require("min_lr", solver.min_lr >= 0, "at least 0")
        for field in CHANGES:
            if solver.lr_policy == "plateau" and getattr(solver, field) > 0:
                self.diagnostics.error(
                    "unsupported-option",
                    f"`{field}` is not supported with lr_policy plateau",
                    solver.span_of(field),
                    help="remove one of them",
                )
        if solver.lr_policy == "multifixed":
            stages = len(solver.stagelr)
            paired = stages == len(solver.stageiter) > 0
            if not paired and not {"stagelr", "stageiter"} & solver.lost:
                self.diagnostics.error(
                    "stage-count",
                    f"there are {stages} `stagelr` and {len(solver.stageiter)} `stageiter`",
                    solver.span_of("stagelr" if stages else "lr_policy"),
                    help="give each stage's rate and its last iteration",
                )
        if solver.type in ("AdaGrad", "RMSProp"):
            self._require("momentum", solver.momentum == 0, f"0 with {solver.type}")
        if solver.type == "RMSProp":
            inside = 0 <= solver.rms_decay < 1
            self._require("rms_decay", inside, "at least 0 and less than 1")
        self._require("average_loss", solver.average_loss >= 1, "at least 1")
        # With 0, Caffe tests once and stops.
        only_tests = solver.has("max_iter") and bool(solver.test_iter)
        trains = solver.max_iter > 0 or (only_tests and solver.max_iter == 0)
        self._require("max_iter", trains, "greater than 0")
        self._require("iter_size", solver.iter_size >= 1, "at least 1")
        if solver.test_iter:
            positive = solver.test_interval > 0
            self._require(
                "test_interval", positive, "greater than 0", because="test_iter"
            )

    def _require(self, field: str, holds: bool, rule: str, because: str = "") -> None:
        """An error at `field` or, where it is not set, at the field that asks for it."""
        if holds or {field, because} & self.solver.lost:
            return
        is_set = self.solver.has(field)
        unset = "" if is_set else " (not set)"
        self.diagnostics.error(
            "invalid-setting",
            f"`{field}` must be {rule}, but is {getattr(self.solver, field):g}{unset}",
            self.solver.span_of(field if is_set else because),
            help=f"write, for example, `{field}: {_EXAMPLES[field]}`",
        )

    def nets(self) -> None:
        """The CHECKs of Solver::InitTrainNet and InitTestNets (solver.cpp)."""
        solver = self.solver
        given = [field for field in _TRAIN_NETS if solver.has(field)]
        if len(given) > 1:
            self.diagnostics.error(
                "train-net-count",
                f"the solver names its train net twice: `{given[0]}` and `{given[1]}`",
                solver.span_of(given[1]),
                help=f"remove one; it is one of {', '.join(_TRAIN_NETS)}",
            )
        tested = len(solver.test_net) + len(solver.test_net_param)
        generic = not {"train_net", "train_net_param"} & set(given)
        iters, states = len(solver.test_iter), len(solver.test_state)
        if iters < tested or (iters > tested and not generic):
            self.diagnostics.error(
                "test-iter-count",
                f"the solver has {tested} test nets, but {iters} `test_iter`",
                solver.span_of("test_iter" if iters else "test_net")
                or solver.span_of("test_net_param"),
                help="write one `test_iter` for each test net",
            )
        elif states and states != iters:
            self.diagnostics.error(
                "test-state-count",
                f"the solver has {iters} test nets, but {states} `test_state`",
                solver.span_of("test_state", states - 1),
                help="write one `test_state` for each `test_iter`, or none",
            )

    def differences(self) -> None:
        solver = self.solver
        if solver.snapshot_diff:
            self.diagnostics.warning(
                "snapshot-diff",
                "snapshots do not hold gradients",
                solver.span_of("snapshot_diff"),
                help="remove it, unless Caffe itself needs it",
            )
