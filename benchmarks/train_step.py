"""Images per second of emitted training scripts beside those that one writes by hand.

python train_step.py [PAGE]: the emitted script of each sample reads its LMDB through the
emitted data.py; the one in by_hand/ has all images in memory. Both train the same net with
the same batch, in turn, each in a process of its own; the one by hand also with the memory
setting of glibc that emitted scripts choose for themselves (caffe_runtime/devices.py).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import lmdb
import numpy as np

from caffe2k.schema.caffe_pb2 import Datum

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "samples"

ROUNDS = 3
WARM_UP, STEPS = 20, 200

KEPT = {
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
}

BATCHES = {"digits_lenet": 50, "resnet_small": 30}
DATA = {
    "digits_lenet": SAMPLES / "digits_lenet/digits_train_lmdb",
    "resnet_small": SAMPLES / "vgg_like/patches_train_lmdb",
}


def main(*pages: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        rows = [_row(sample, Path(scratch)) for sample in BATCHES]
    table = _HEAD + "".join(f"{row}\n" for row in rows)
    print(table)
    for page in pages:
        Path(page).write_text(table, encoding="utf-8")


_HEAD = f"""\
# Training steps

Images per second of the training script that is emitted for a sample, and of one written by hand
for the same model and batch (benchmarks/by_hand/), on two cores of a CPU; the median of {ROUNDS}
rounds in which they run in turn, {STEPS} steps each. `make bench` writes this page.

On a CPU emitted scripts have glibc keep the buffers of a step for the next one
(`caffe_runtime/devices.py`); the last two columns are of the script by hand with
{" and ".join(f"`{name}={size}`" for name, size in KEPT.items())}
in its environment, which does the same.

| sample | batch | emitted | by hand | ratio | by hand, buffers kept | ratio |
| --- | --- | --- | --- | --- | --- | --- |
"""


def _row(sample: str, scratch: Path) -> str:
    folder, arrays = scratch / sample, scratch / f"{sample}.npz"
    solver = scratch / f"{sample}.prototxt"
    solver.write_text(_without_tests(SAMPLES / sample), encoding="utf-8")
    command = [sys.executable, "-m", "caffe2k", "translate", str(solver)]
    subprocess.run([*command, "-o", str(folder)], check=True, capture_output=True)
    np.savez(arrays, **_in_memory(DATA[sample]))
    emitted = [str(folder / "train.py")]
    by_hand = [str(HERE / "by_hand" / f"{sample}.py"), str(arrays), str(2 * STEPS)]
    runs = (emitted, {}), (by_hand, {}), (by_hand, KEPT)
    seconds = [[_step(sample, *run) for run in runs] for _ in range(ROUNDS)]
    ours, *theirs = (statistics.median(column) for column in zip(*seconds, strict=True))
    batch = BATCHES[sample]
    cells = [f"{batch / ours:,.0f}"]
    for other in theirs:
        cells += [f"{batch / other:,.0f}", f"{other / ours:.2f}"]
    return f"| {sample} | {batch} | {' | '.join(cells)} |"


def _without_tests(sample: Path) -> str:
    """The sample's solver, with training alone, for long enough."""
    kept = [
        line
        for line in (sample / "solver.prototxt").read_text().splitlines()
        if not line.startswith(("net:", "test_", "snapshot", "max_iter:"))
    ]
    own = [f'net: "{sample / "train_val.prototxt"}"', "max_iter: 1000000"]
    return "\n".join([*own, *kept])


def _in_memory(database: Path) -> dict[str, np.ndarray]:
    """The images (N, H, W, C) and labels of an LMDB."""
    images, labels = [], []
    with (
        lmdb.open(str(database), readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        for _, record in transaction.cursor():
            datum = Datum.FromString(record)
            images.append(_image(datum))
            labels.append(datum.label)
    return {"images": np.stack(images), "labels": np.array(labels)}


def _image(datum: Datum) -> np.ndarray:
    data = np.frombuffer(datum.data, "uint8")
    if datum.encoded:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    shape = (datum.channels, datum.height, datum.width)
    return data.reshape(shape).transpose(1, 2, 0)


def _step(sample: str, script: list[str], environment: dict[str, str]) -> float:
    """The seconds of a training step of a script."""
    command = [sys.executable, str(HERE / "timed_fit.py"), str(WARM_UP), str(STEPS)]
    done = subprocess.run(
        [*command, *script],
        env={
            **os.environ,
            **environment,
            "CAFFE_DATA_ROOT": str(SAMPLES / sample),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main(*sys.argv[1:])
