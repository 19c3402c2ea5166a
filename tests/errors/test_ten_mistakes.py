"""One file with ten mistakes: ten diagnostics in one run, in their order."""

from __future__ import annotations

import re

from tests.errors import cases


def test_ten_mistakes_are_ten_diagnostics() -> None:
    result, left = cases.run(cases.TEN_MISTAKES)
    assert (result.exit_code, result.stdout, left) == (1, "", [])
    *diagnostics, end = result.stderr.split("\n\n")
    assert end == "10 errors; nothing was written\n"
    assert len(diagnostics) == 10
    places = [re.search(r"--> train_val.prototxt:(\d+):(\d+)", d) for d in diagnostics]
    lines = [int(place[1]) for place in places if place]
    assert len(lines) == 10
    assert lines == sorted(lines)
    for diagnostic in diagnostics:
        assert re.search(r"^ +\| +\^+$", diagnostic, re.MULTILINE)
        assert " = help: " in diagnostic
