"""Which layers a state has: Net::FilterNet and Net::StateMeetsRule (net.cpp)."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Phase
from caffe2k.passes.select import NetState, select_layers, state_of
from tests.unit.nets import layer, message


def selected(rules: str, state: NetState) -> bool:
    net = message(layer("a", "Input", more=rules))
    return bool(list(select_layers(net, state, Diagnostics())))


TEST = NetState(Phase.TEST, 2, frozenset({"deploy", "fast"}))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", True),
        ("include { phase: TEST }", True),
        ("include { phase: TRAIN }", False),
        ("exclude { phase: TEST }", False),
        ("exclude { phase: TRAIN }", True),
        ("include { phase: TRAIN } include { phase: TEST }", True),
        ("exclude { phase: TRAIN } exclude { stage: 'fast' }", False),
        ("include { min_level: 2 }", True),
        ("include { min_level: 3 }", False),
        ("include { max_level: 2 }", True),
        ("include { max_level: 1 }", False),
        ("include { stage: 'fast' stage: 'deploy' }", True),
        ("include { stage: 'fast' stage: 'other' }", False),
        ("include { not_stage: 'other' }", True),
        ("include { not_stage: 'fast' }", False),
        ("include { phase: TEST not_stage: 'fast' }", False),
        ("include { }", True),
        ("exclude { }", False),
    ],
)
def test_rules(rules: str, expected: bool) -> None:
    assert selected(rules, TEST) is expected


def test_include_and_exclude_together_are_refused() -> None:
    net = message(layer("a", "Input", more="include { } exclude { }"))
    diagnostics = Diagnostics()
    list(select_layers(net, TEST, diagnostics))
    assert [d.code for d in diagnostics] == ["include-and-exclude"]


def test_every_rule_counts_as_read() -> None:
    rules = "include { phase: TEST } include { phase: TRAIN stage: 'x' }"
    net = message(layer("a", "Input", more=rules))
    list(select_layers(net, TEST, Diagnostics()))
    (only,) = net.layer
    assert [path for path, _ in only.unread() if path.startswith("include")] == []


def test_the_solver_adds_to_the_net_s_state() -> None:
    net = message("state { level: 1 stage: 'a' }")
    solver = message("state { level: 3 stage: 'b' }").state
    assert state_of(net, Phase.TEST) == NetState(Phase.TEST, 1, frozenset("a"))
    assert state_of(net, Phase.TEST, solver) == NetState(Phase.TEST, 3, frozenset("ab"))
