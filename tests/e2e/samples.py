"""All sample projects, translated and trained as a user would, beside Caffe's own logs.

python -m tests.e2e.samples [PAGE]: prints the table, and writes it to a page of docs/.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from tests.e2e.processes import python
from tests.e2e.unlogged import accuracy, caffes_accuracies, last_snapshot

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

README = SAMPLES / "README.md"

NAMES = sorted(path.parent.name for path in SAMPLES.glob("*/solver.prototxt"))

SEEDS = (1, 2, 3)
"""For nets in which Caffe's own run is one of many: dropout, random crops."""

UNLOGGED = "accuracy, not logged"
"""The output that a net without an Accuracy layer lacks."""

Output = tuple[int, int, str]
"""Iteration, number of the test net, name of its output."""


@dataclass
class Log:
    """What a training prints, in Caffe's words: ours and Caffe's logs read alike."""

    losses: dict[int, float] = field(default_factory=dict)
    """Iteration -> the smoothed loss that was displayed."""
    rates: dict[int, float] = field(default_factory=dict)
    tests: dict[Output, float] = field(default_factory=dict)

    @property
    def last_tested(self) -> int:
        """The iteration of the last test."""
        return max(iteration for iteration, _, _ in self.tests)

    @property
    def last_tests(self) -> dict[tuple[int, str], float]:
        """The outputs of the last test: (test net, name) -> value."""
        last = self.last_tested
        return {
            (net, name): value
            for (iteration, net, name), value in self.tests.items()
            if iteration == last
        }

    def add_accuracy(self, value: float) -> None:
        """Puts one that was measured apart among the outputs of the last test."""
        self.tests[self.last_tested, 0, UNLOGGED] = value


_NUMBER = r"([-+.\deinf]+|nan)"
_TEST = re.compile(r"Iteration (\d+), Testing net \(#(\d+)\)")
_OUTPUT = re.compile(rf"Test net output #\d+: (\S+) = {_NUMBER}")
_LOSS = re.compile(rf"Iteration (\d+).*, loss = {_NUMBER}")
_RATE = re.compile(rf"Iteration (\d+), lr = {_NUMBER}")


def parse(text: str) -> Log:
    """Reads the lines of solver.cpp and sgd_solver.cpp out of a log."""
    log, iteration, net = Log(), 0, 0
    for line in text.splitlines():
        if found := _TEST.search(line):
            iteration, net = int(found[1]), int(found[2])
        elif found := _OUTPUT.search(line):
            log.tests[iteration, net, found[1]] = float(found[2])
        elif found := _RATE.search(line):
            log.rates[int(found[1])] = float(found[2])
        elif found := _LOSS.search(line):
            log.losses[int(found[1])] = float(found[2])
    return log


def caffes_log(sample: str) -> Log:
    """What Caffe printed."""
    return parse((SAMPLES / sample / "caffe.log").read_text(encoding="utf-8"))


def is_random(sample: str) -> bool:
    """Whether something in the TRAIN net is; then Caffe left no trajectory."""
    return not (SAMPLES / sample / "trajectory.npz").exists()


def translated(sample: str, folder: Path) -> str:
    """Translates a sample with the weights that Caffe started from; their file's name."""
    source = SAMPLES / sample
    command = ["translate", "solver.prototxt", "--weights", "init.caffemodel"]
    run(["-m", "caffe2k", *command, "-o", str(folder)], source, source)
    (weights,) = folder.glob("*.h5")
    return weights.name


def trained(sample: str, folder: Path, *options: str) -> Log:
    """Trains in a process of its own, and returns what it printed."""
    command = ["train.py", "--log", "caffe", *options]
    return parse(run(command, folder, SAMPLES / sample))


def run(command: list[str], folder: Path, data: Path) -> str:
    """What Python prints, run in a folder with the data of another."""
    done = python(*command, folder=folder, data=data)
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Result:
    """A sample's last test in both, and how far ours strays from Caffe on the way.

    `strays` is the largest difference of a displayed loss, relative to Caffe's, and
    `rounding` that between two runs of ours, the second from weights of which half are
    the next larger float32; None for random nets. `lines` are those of model.py, train.py and data.py.
    """

    sample: str
    metrics: dict[tuple[int, str], tuple[float, float]]
    strays: float | None
    rounding: float | None
    lines: tuple[int, ...]
    seconds: float


def measured(sample: str, scratch: Path) -> Result:
    """Translates and trains a sample, a random one with several seeds."""
    folder = scratch / sample
    weights = translated(sample, folder)
    caffe, runs, seconds = caffes_log(sample), [], []
    figure = caffes_accuracies(README).get(sample)
    if figure is not None:
        caffe.add_accuracy(figure)
    for options in _seeds(sample):
        start = time.perf_counter()
        log = trained(sample, folder, "--weights", weights, *options)
        seconds.append(time.perf_counter() - start)
        if figure is not None:
            snapshot = last_snapshot(folder, "keras")
            log.add_accuracy(accuracy(folder, snapshot, SAMPLES / sample))
        runs.append(log)
    strays = rounding = None
    if not is_random(sample):
        strays = strayed(runs[0], caffe)
        round_up_half(folder / weights)
        rounding = strayed(trained(sample, folder, "--weights", weights), runs[0])
    return Result(
        sample,
        {
            key: (value, statistics.mean(log.last_tests[key] for log in runs))
            for key, value in caffe.last_tests.items()
        },
        strays,
        rounding,
        tuple(
            len((folder / name).read_text(encoding="utf-8").splitlines())
            for name in ("model.py", "train.py", "data.py")
        ),
        statistics.mean(seconds),
    )


def _seeds(sample: str) -> list[tuple[str, ...]]:
    return [("--seed", str(s)) for s in SEEDS] if is_random(sample) else [()]


def round_up_half(weights: Path) -> None:
    """Replaces every other weight of an .h5 by the float32 that follows it."""

    def change(_: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            values = item[...].ravel()
            values[::2] = np.nextafter(values[::2], np.float32(np.inf))
            item[...] = values.reshape(item.shape)

    with h5py.File(weights, "r+") as file:
        file.visititems(change)


def strayed(ours: Log, caffe: Log) -> float:
    """The largest relative difference of a displayed loss; both display the same ones."""
    assert ours.losses.keys() == caffe.losses.keys()
    return max(
        abs(ours.losses[i] - loss) / max(abs(loss), 1e-3)
        for i, loss in caffe.losses.items()
    )


_HEAD = """\
# Samples

Each sample translated with one command, and trained by the emitted train.py from the weights
that Caffe started from, beside what Caffe itself logged. `make samples` writes this page.

The outputs are those of the last test. Nets with dropout or random crops: the mean of
{seeds} seeds. *strays* is the largest relative difference of a loss that is displayed on the way,
for nets without anything random. *rounding* is the same between two runs of ours, of which the second
starts from weights that are every other one rounded up to the next float32: where a maximum or a ReLU
turns on the last bit, no two libraries can stay together for longer. Lines are those of model.py +
train.py + data.py; seconds those of a whole training, start-up included, on two cores.

*{unlogged}*: of nets without an Accuracy layer; Caffe's figure is the one in italics in
[samples/README.md](../samples/README.md), and ours was measured as it says there, on the same test
data, with the emitted model and the last snapshot.

shared_lstm: two LSTM layers share their weights by name, which Caffe does by half while training (see
[samples/README.md](../samples/README.md)). We share as written, and reach more.

| sample | output | Caffe | Keras | strays | rounding | lines | seconds |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def page(results: list[Result]) -> str:
    """The table as Markdown."""
    return _HEAD.format(seeds=len(SEEDS), unlogged=UNLOGGED) + "".join(
        f"{row}\n" for result in results for row in _rows(result)
    )


def _rows(result: Result) -> Iterator[str]:
    several = len({net for net, _ in result.metrics}) > 1
    strays, rounding = map(_ratio, (result.strays, result.rounding))
    lines = " + ".join(map(str, result.lines))
    facts = f"{strays} | {rounding} | {lines} | {result.seconds:.0f}"
    for (net, name), (caffe, ours) in result.metrics.items():
        output = f"{name} (test net {net})" if several else name
        yield f"| {result.sample} | {output} | {caffe:.5g} | {ours:.5g} | {facts} |"
        facts = " | | | "


def _ratio(value: float | None) -> str:
    return "random" if value is None else f"{value:.1e}"


def main(*pages: str) -> None:
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for sample in NAMES:
            results.append(measured(sample, Path(scratch)))
            print(*_rows(results[-1]), sep="\n", flush=True)
    for path in pages:
        Path(path).write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
