"""The wheel: what it holds, and a translation from it, far from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from caffe2k.translation import translate

ROOT = Path(__file__).resolve().parents[2]
LENET = ROOT / "samples" / "digits_lenet"
BESIDE = ("grammars", "templates")
"""The folders that lie beside the package in a checkout, and inside it in a wheel."""

WEIGHTS = "DigitsLeNet.h5"
_CACHES = {"__pycache__", ".ruff_cache", ".mypy_cache"}

pytestmark = pytest.mark.slow


def run(*arguments: str | Path, folder: Path, path: Path | None = None) -> str:
    """What a Python process prints, which finds packages in `path` first."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel of this checkout is unpacked to."""
    built = tmp_path_factory.mktemp("built")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", built, folder=ROOT)
    (wheel,) = built.glob("*.whl")
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Path -> content of all files in a folder, but the caches of tools."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not _CACHES & set(path.parts)
    }


def arrays(file: Path) -> dict[str, NDArray[np.float32]]:
    """Path -> array of all data sets in an .h5."""
    found: dict[str, NDArray[np.float32]] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(file) as opened:
        opened.visititems(note)
    return found


def test_it_holds_the_package_with_its_grammars_and_templates(unpacked: Path) -> None:
    expected = files(ROOT / "caffe2k")
    for name in BESIDE:
        beside = files(ROOT / name)
        assert beside != {}
        expected |= {f"{name}/{path}": text for path, text in beside.items()}
    assert files(unpacked / "caffe2k") == expected


def test_it_brings_the_package_and_its_metadata_alone(unpacked: Path) -> None:
    package, metadata = sorted(path.name for path in unpacked.iterdir())
    assert package == "caffe2k"
    assert metadata.endswith(".dist-info")
    scripts = ConfigParser()
    scripts.read(unpacked / metadata / "entry_points.txt", encoding="utf-8")
    assert dict(scripts["console_scripts"]) == {"caffe2k": "caffe2k.cli:main"}


def test_it_translates_as_the_checkout_does(unpacked: Path, tmp_path: Path) -> None:
    where = "import caffe2k; print(caffe2k.__file__)"
    found = Path(run("-c", where, folder=tmp_path, path=unpacked).strip())
    assert found.is_relative_to(unpacked)

    solver, weights = LENET / "solver.prototxt", LENET / "lenet_iter_400.caffemodel"
    options = ("--weights", weights, "-o", "from_wheel")
    command = ("-m", "caffe2k", "translate", solver, *options)
    run(*command, folder=tmp_path, path=unpacked)
    translate(solver, weights=weights).write(tmp_path / "from_checkout")
    ours, theirs = (files(tmp_path / f"from_{home}") for home in ("wheel", "checkout"))
    assert {"model.py", "train.py", "data.py", WEIGHTS} <= ours.keys()
    # HDF5 notes the time in a file, so that it is never the same byte for byte.
    for project in (ours, theirs):
        del project[WEIGHTS]
    assert ours == theirs
    ported = arrays(tmp_path / "from_wheel" / WEIGHTS)
    expected = arrays(tmp_path / "from_checkout" / WEIGHTS)
    assert ported.keys() == expected.keys() != set()
    assert all(np.array_equal(ported[name], expected[name]) for name in expected)
