"""Every layer case on Keras's other backends: what comes out, and the inputs' gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.conformance.exceptions import BACKENDS
from tests.conformance.suite import GIVEN, OWN, ROOT


@pytest.mark.slow
@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_backend(backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    folders = sorted(p for p in (ROOT / "layers").iterdir() if p.is_dir())
    run = subprocess.run(
        [sys.executable, "-m", "tests.conformance.on_backend"],
        input="".join(f"{folder}\n" for folder in folders),
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=OWN.parents[1],
        text=True,
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    reports = [json.loads(line) for line in run.stdout.splitlines()]
    assert [r["case"] for r in reports] == [folder.name for folder in folders]
    off = {r["case"]: r["off"] for r in reports if r["off"]}
    excused = {} if GIVEN else BACKENDS[backend]
    assert {case: why for case, why in off.items() if case not in excused} == {}
    assert excused.keys() <= off.keys()
