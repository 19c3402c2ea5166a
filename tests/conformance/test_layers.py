"""Every layer case of the suite, forward and backward, through emitted code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.measure import measure
from tests.conformance.not_yet import NOT_YET
from tests.conformance.suite import cases, error


@pytest.mark.parametrize("folder", cases("layers", NOT_YET))
def test_layer(folder: Path, tmp_path: Path) -> None:
    measured = measure(folder, tmp_path / "out")
    assert measured
    assert [str(m) for m in measured if not m.ok] == []


def test_errors_are_seen() -> None:
    assert error(np.ones(3), np.zeros(3)) == 1
    with pytest.raises(AssertionError):
        error(np.ones(3), np.zeros(4))
