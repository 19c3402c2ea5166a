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

POLICIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fixed": ("Fixed", ()),
    "step": ("Step", ("gamma", "stepsize")),
    "exp": ("Exponential", ("gamma",)),
    "inv": ("InverseDecay", ("gamma", "power")),
    "multistep": ("MultiStep", ("gamma", "stepvalue")),
    "poly": ("Polynomial", ("power", "max_iter")),
    "sigmoid": ("Sigmoid", ("gamma", "stepsize")),
}
"""`lr_policy` -> its class in runtime/schedules.py, and the fields that it reads."""

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
    "solver_mode",
    "device_id",
    # Said to be different.
    "snapshot_diff",
    "weights",
    "eval_type",
    # Without effect: snapshots have Keras's format, and tests always give the loss.
    "snapshot_format",
    "test_compute_loss",
    "debug_info",
    "layer_wise_reduce",
    "show_per_class_result",
    "ap_version",
}


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
    checks.test_nets()
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

    def test_nets(self) -> None:
        """Only the first test net is tested, and it is the net that is trained."""
        solver = self.solver
        if len(solver.test_iter) > 1:
            self.diagnostics.warning(
                "more-test-nets",
                f"the solver has {len(solver.test_iter)} test nets; train.py tests the first",
                solver.span_of("test_iter", 1),
                help="translate the others one by one, with --phase TEST",
            )
        trained = solver.train_net or solver.net
        for index, name in enumerate(solver.test_net):
            if name != trained:
                self.diagnostics.warning(
                    "other-test-net",
                    f"the test net `{name}` is not translated",
                    solver.span_of("test_net", index),
                    help="train.py tests the net that it trains",
                )
        if solver.has("test_net_param"):
            self.diagnostics.warning(
                "other-test-net",
                "the net in `test_net_param` is not translated",
                solver.span_of("test_net_param"),
                help="train.py tests the net that it trains",
            )

    def differences(self) -> None:
        solver = self.solver
        if solver.eval_type != "classification":
            self.diagnostics.warning(
                "eval-type",
                f"tests do not evaluate for {solver.eval_type}",
                solver.span_of("eval_type"),
                help="train.py prints the mean of each output over the batches",
            )
        if solver.snapshot_diff:
            self.diagnostics.warning(
                "snapshot-diff",
                "snapshots do not hold gradients",
                solver.span_of("snapshot_diff"),
                help="remove it, unless Caffe itself needs it",
            )
        if solver.weights:
            self.diagnostics.warning(
                "solver-weights",
                "train.py does not load the solver's `weights` by itself",
                solver.span_of("weights"),
                help="port the file with `caffe2k weights`, then train with "
                "`python train.py --weights FILE.h5`",
            )
