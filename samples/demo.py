"""The main job on two samples: translate, test, fine-tune, beside what Caffe logged."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SAMPLES = Path(__file__).resolve().parent
ROOT = SAMPLES.parent
DEMO = ROOT / "demo"
CAFFE2K = [sys.executable, "-m", "caffe2k"]
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def main() -> None:
    shutil.rmtree(DEMO, ignore_errors=True)
    lenet = translate("digits_lenet", "lenet_iter_400.caffemodel")
    tested = run(lenet, "--weights", "DigitsLeNet.h5", "--evaluate")
    compare("digits_lenet: Caffe's weights, tested in Keras", "digits_lenet", tested)
    parity = translate(
        "digits_parity_finetune",
        "../digits_lenet/lenet_iter_400.caffemodel",
        "--allow-partial",
    )
    trained = run(parity, "--weights", "DigitsParity.h5")
    compare(
        "digits_parity_finetune: fine-tuned from Caffe's weights in Keras",
        "digits_parity_finetune",
        trained,
    )


def translate(sample: str, weights: str, *options: str) -> Path:
    """Translates a sample's solver, net and weights into demo/."""
    folder = DEMO / sample
    solver = (SAMPLES / sample / "solver.prototxt").relative_to(ROOT)
    command = [
        *("translate", str(solver)),
        *("--weights", os.path.relpath(SAMPLES / sample / weights, ROOT)),
        *options,
        *("-o", str(folder.relative_to(ROOT))),
    ]
    print(f"\n$ caffe2k {' '.join(command)}", flush=True)
    subprocess.run([*CAFFE2K, *command], cwd=ROOT, check=True)
    return folder


def run(folder: Path, *options: str) -> str:
    """Runs the emitted train.py and returns what it printed."""
    print(f"\n$ cd {folder.relative_to(ROOT)}; python train.py {' '.join(options)}")
    command = [sys.executable, "train.py", *options]
    lines = []
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode != 0:
        sys.exit(process.returncode)
    return "".join(lines)


def compare(title: str, sample: str, printed: str) -> None:
    """The last test accuracy of either side."""
    logged = (SAMPLES / sample / "caffe.log").read_text(encoding="utf-8")
    print(f"\n{title}")
    print(f"  accuracy that Caffe logged: {accuracy(logged):.6f}")
    print(f"  accuracy of the Keras model: {accuracy(printed):.6f}")


def accuracy(log: str) -> float:
    return float(re.findall(r"accuracy = ([0-9.e+-]+)", log)[-1])


if __name__ == "__main__":
    main()
