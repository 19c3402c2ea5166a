"""Where the conformance cases are, and what they hold."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

OWN = Path(__file__).resolve().parent
SHARED = OWN.parents[2] / "shared" / "conformance"
GIVEN = os.environ.get("CAFFE2K_CONFORMANCE")
"""Another suite of the same formats, to run instead of our own."""

ROOT = Path(GIVEN) if GIVEN else OWN


def cases(suite: str, names: Collection[str] = ()) -> list[object]:
    """The cases of a suite, or those of some `names`, as parameters."""
    folder = ROOT / suite
    found = (
        sorted(p.name for p in folder.iterdir() if p.is_dir())
        if folder.is_dir()
        else []
    )
    chosen = [name for name in found if not names or name in names]
    return [pytest.param(folder / name, id=f"{suite}/{name}") for name in chosen]


@dataclass(frozen=True)
class Case:
    """A net, its weights, and what Caffe computed, by kind and blob."""

    folder: Path
    phase: str
    arrays: dict[str, np.ndarray]

    @property
    def net(self) -> Path:
        return self.folder / "net.prototxt"

    @property
    def weights(self) -> Path | None:
        path = self.folder / "weights.caffemodel"
        return path if path.exists() else None

    def of(self, kind: str) -> dict[str, np.ndarray]:
        """The arrays of a kind (in, out, dout, din, blob, dparam, after) by their name."""
        prefix = f"{kind}/"
        return {
            key.removeprefix(prefix): array
            for key, array in self.arrays.items()
            if key.startswith(prefix)
        }


def load(folder: Path) -> Case:
    with np.load(folder / "io.npz") as npz:
        arrays = dict(npz)
    phase = str(arrays.pop("phase", "TEST"))
    return Case(folder, phase, arrays)


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The suite's error: max|a - b| / max(1, max|b|)."""
    actual, expected = np.asarray(actual, "float64"), np.asarray(expected, "float64")
    if actual.size != expected.size:
        raise AssertionError(f"shape {actual.shape}, Caffe has {expected.shape}")
    if not expected.size:
        return 0.0
    difference = np.abs(actual.reshape(expected.shape) - expected)
    return float(difference.max() / max(1.0, np.abs(expected).max()))


LIMITS = {"out": 1e-5, "din": 1e-4, "dparam": 1e-4, "after": 1e-5}


@dataclass(frozen=True)
class Measured:
    """The error of one array: of a kind (out, din, dparam, after), by its name."""

    kind: str
    name: str
    error: float

    @property
    def ok(self) -> bool:
        return self.error <= LIMITS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} is {self.error:.2e} off"
