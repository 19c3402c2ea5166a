"""Every layer case of the suite, forward and backward, through emitted code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conformance.coverage import types_in
from tests.conformance.measure import run_case
from tests.conformance.restored import differences
from tests.conformance.suite import cases, error


@pytest.mark.parametrize("folder", cases("layers"))
def test_layer(
    folder: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("layer types", types_in(folder / "net.prototxt"))
    ran = run_case(folder, tmp_path / "out")
    record_property("errors", [(m.kind, m.error) for m in ran.measured])
    assert ran.measured
    assert [str(m) for m in ran.measured if not m.ok] == []
    assert differences(ran.net, ran.case.of("in"), tmp_path / "out") == []


def test_errors_are_seen() -> None:
    assert error(np.ones(3), np.zeros(3)) == 1
    with pytest.raises(AssertionError):
        error(np.ones(3), np.zeros(4))
