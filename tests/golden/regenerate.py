"""Writes everything that tests compare byte for byte anew: `make golden`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.errors.cases import regenerate as regenerate_errors
from tests.golden.trees import PROJECTS, TREES, scripts, translated


def main() -> None:
    shutil.rmtree(TREES, ignore_errors=True)
    for name in PROJECTS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            translated(name).write(folder)
            (TREES / name).mkdir(parents=True)
            for file, text in scripts(folder).items():
                (TREES / name / file).write_text(text, encoding="utf-8", newline="\n")
    regenerate_errors()


if __name__ == "__main__":
    main()
