"""The lines of training: Caffe's words and numbers, glog's prefix, the bar."""

import os
import re
import sys

import numpy as np
import pytest

from caffe2k.runtime.training_log import Output, TrainingLog

# What tools/extra/parse_log.py of Caffe looks for.
PARSERS = {
    "iteration": re.compile(r"Iteration (\d+)"),
    "output": re.compile(r"Test net output #(\d+): (\S+) = ([\.\deE+-]+)"),
    "time": re.compile(r"^I(\d{4}) (\d\d:\d\d:\d\d\.\d{6})\s+(\d+) (\S+:\d+)\] "),
}


def test_caffes_prefix(capsys):
    TrainingLog("caffe").line("Iteration 10, lr = 0.1", "sgd_solver.cpp:112")
    line = capsys.readouterr().out
    assert line.endswith("sgd_solver.cpp:112] Iteration 10, lr = 0.1\n")
    _, _, process, place = PARSERS["time"].match(line).groups()
    assert (int(process), place) == (os.getpid(), "sgd_solver.cpp:112")
    assert PARSERS["iteration"].search(line)[1] == "10"


def test_outputs_in_order_with_their_weights(capsys):
    outputs = [
        Output("accuracy", "ip_accuracy"),
        Output("loss", "loss", 0.5, weighted=True),
        Output("per_class", "per"),
    ]
    values = {"ip_accuracy": 0.98, "loss": 1e-7, "per": np.array([0.25, 1 / 3])}
    TrainingLog().outputs("Test", outputs, values, "solver.cpp:414")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "    Test net output #0: accuracy = 0.98",
        "    Test net output #1: loss = 2e-07 (* 0.5 = 1e-07 loss)",
        "    Test net output #2: per_class = 0.25",
        "    Test net output #3: per_class = 0.333333",
    ]
    found = [PARSERS["output"].search(line).groups() for line in lines]
    assert found[1] == ("1", "loss", "2e-07")


def test_the_bar_gives_way_to_lines_and_needs_a_terminal(capsys, monkeypatch):
    assert not TrainingLog("bar").shows_bar
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    log = TrainingLog("bar")
    assert log.shows_bar
    log.bar(5, 10, "loss 0.5")
    log.line("Iteration 5, lr = 1", "sgd_solver.cpp:112")
    first, second = capsys.readouterr().out.rsplit("\r\x1b[K", 1)
    assert first == f"\r\x1b[K5/10 [{'=' * 15}{' ' * 15}] loss 0.5"
    assert second == "Iteration 5, lr = 1\n"


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="'glog'"):
        TrainingLog("glog")
