"""Which layers a phase, level and set of stages has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Phase
from caffe2k.schema.message import Message


@dataclass(frozen=True)
class NetState:
    """What include and exclude rules are held against."""

    phase: Phase
    level: int = 0
    stages: frozenset[str] = frozenset()


def state_of(net: Message, phase: Phase, override: Message | None = None) -> NetState:
    """The state of a net: its own `state`, then the solver's `train_state`/`test_state`.

    Level and stages add up as in Solver::InitTrainNet and InitTestNets (solver.cpp).
    """
    level, stages = 0, set[str]()
    for state in (net.state, override):
        if state is not None:
            level = state.level if state.has("level") else level
            stages.update(state.stage)
            state.mark_read("phase")
    return NetState(phase, level, frozenset(stages))


def select_layers(
    net: Message, state: NetState, diagnostics: Diagnostics
) -> Iterator[tuple[int, Message]]:
    """The layers that a state has, with their place in the file.

    Net::FilterNet (net.cpp): in if any `include` is met, or, without any, if no
    `exclude` is met.
    """
    for index, layer in enumerate(net.layer):
        include, exclude = layer.include, layer.exclude
        if include and exclude:
            diagnostics.error(
                "include-and-exclude",
                f"layer `{layer.name}` has both include and exclude rules",
                layer.span_of("exclude"),
                help="keep one kind, as Caffe demands",
            )
        # All rules are held against the state, so that all of their fields are read.
        met = [_meets(state, rule) for rule in include or exclude]
        if any(met) == bool(include):
            yield index, layer


def _meets(state: NetState, rule: Message) -> bool:
    """Net::StateMeetsRule (net.cpp). Every field is read, whatever the answer."""
    answers = [
        not rule.has("phase") or rule.phase == state.phase.value,
        not rule.has("min_level") or state.level >= rule.min_level,
        not rule.has("max_level") or state.level <= rule.max_level,
        state.stages.issuperset(rule.stage),
        state.stages.isdisjoint(rule.not_stage),
    ]
    return all(answers)
