"""Every layer case of the suite through code emitted for channels first.

fit() compiles such a model, and so do these tests: TensorFlow's CPU kernels know no
convolution with channels first. What XLA can't compile has none, and runs as it is.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.exceptions import CHANNELS_FIRST
from tests.conformance.measure import run_case
from tests.conformance.suite import GIVEN, cases


@pytest.mark.parametrize("folder", cases("layers"))
def test_layer(folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if folder.name in CHANNELS_FIRST and not GIVEN:
        reason = CHANNELS_FIRST[folder.name]
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    ran = run_case(folder, tmp_path / "out", data_format="channels_first")
    assert ran.measured
    assert [str(m) for m in ran.measured if not m.ok] == []
