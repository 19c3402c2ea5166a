"""At the end of a run: what the layer cases of the conformance suite have shown."""

from __future__ import annotations

import pytest

_COLUMNS = "{:26} {:>6} {:>6} {:>15} {:>15}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    cases = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            properties = dict(getattr(report, "user_properties", ()))
            if getattr(report, "when", "") == "call" and "layer types" in properties:
                cases.append((properties["layer types"], properties.get("errors")))
    if not cases:
        return
    # Reads the schema, which a run of other tests has no need of.
    from tests.conformance.coverage import by_type, shown

    terminalreporter.section("layer types against Caffe")
    heads = ("type", "cases", "agree", "worst forward", "worst gradient")
    terminalreporter.write_line(_COLUMNS.format(*heads))
    for row in by_type(cases):
        cells = (
            row.type,
            row.cases,
            row.agree,
            shown(row.forward),
            shown(row.gradient),
        )
        terminalreporter.write_line(_COLUMNS.format(*cells))
