"""Reads damaged files of weights: each must give an error or values, soon, and no more.

    python -m tests.fuzz.weights [--count 10000] [--seed 0] [--kind binary|hdf5|keras]

Every damaged file is made from one that Caffe wrote, or from one for Keras. The reader
works in this process, under a limit of memory and of time for each file; a crash is seen
by who started it. Where a library hangs, the process ends and says where.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import re
import resource
import signal
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.porting import port_weights
from caffe2k.prototxt.print import to_prototxt
from caffe2k.prototxt.upgrade import upgrade
from caffe2k.weights import wire
from caffe2k.weights.contents import read_contents
from caffe2k.weights.net_definition import read_definition

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1
SECONDS_IN_A_LIBRARY = 20
ADDRESS_SPACE = 1 << 30

SEEDS = {
    "binary": (
        "samples/digits_lenet/lenet_iter_200.caffemodel",
        "samples/digits_lenet/lenet_iter_200.solverstate",
        "samples/vgg_like/*.binaryproto",
        "tests/conformance/layers/*/weights.caffemodel",
        "tests/conformance/solvers/*/*.solverstate",
        "../shared/conformance/nets/lenet/weights_v[01].caffemodel",
    ),
    "hdf5": (
        "tests/conformance/solvers/*/*.h5",
        "../shared/conformance/solvers/*/*.h5",
    ),
}
KERAS_SEED = "tests/conformance/layers/conv_pool_ip_ip"
_LARGEST_SEED = 64 << 10
_REACH, _REACH_OF_FIELDS = 64, 4
_HUGE = (2**63, 2**64 - 1, 2**63 - 1, 2**32, 2**31, 2**31 - 1, 2**30)


def seeds(kind: str, scratch: Path) -> list[Path]:
    """The files to damage: small ones many times, a few larger ones now and then."""
    if kind == "keras":
        return list(keras_seeds(scratch))
    return [path for pattern in SEEDS[kind] for path in sorted(ROOT.glob(pattern))]


def keras_seeds(scratch: Path) -> Iterator[Path]:
    """Weights by layer name, those of a model, and archives that hold them."""
    net, weights = (
        ROOT / KERAS_SEED / name for name in ("net.prototxt", "weights.caffemodel")
    )
    for name in ("seed.h5", "seed.weights.h5"):
        port_weights(net, weights, scratch / name)
        yield scratch / name
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = scratch / f"{compression}.keras"
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.write(scratch / "seed.weights.h5", "model.weights.h5")
        yield path


def structure(data: bytes) -> list[int]:
    """Where a file's parts begin: fields at any depth, HDF5's nodes, an archive's heads."""
    if data.startswith((b"\x89HDF", b"PK")):
        return [at.start() for at in re.finditer(b"TREE|SNOD|HEAP|GCOL|PK", data)]
    found: list[int] = []

    def walk(start: int, stop: int, depth: int) -> None:
        try:
            position = start
            for field in wire.fields(memoryview(data), start, stop):
                found.append(position)
                position = field.stop
                if field.wire_type == wire.LENGTH and depth and stop - start > 2:
                    walk(field.start, min(field.stop, field.start + 4096), depth - 1)
        except wire.WireError:
            return

    walk(0, len(data), 4)
    return found


def damaged(data: bytes, places: list[int], rng: random.Random) -> bytes:
    """The file with one to three changes, most of them where its parts begin."""
    reach = _REACH if data.startswith((b"\x89HDF", b"PK")) else _REACH_OF_FIELDS
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not data:
            break
        if places and rng.random() < 0.8:
            at = min(rng.choice(places) + rng.randrange(reach), len(data) - 1)
        else:
            at = rng.randrange(min(len(data), rng.choice((64, 2048, len(data)))))
        data = rng.choice(_CHANGES)(data, at, rng)
    return data


def _cut(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at]


def _flip(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _put(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) + data[at + 1 :]


def _huge_varint(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + wire.varint(rng.choice(_HUGE)) + data[at + rng.randrange(3) :]


def _huge_number(data: bytes, at: int, rng: random.Random) -> bytes:
    width = rng.choice((2, 4, 8))
    value = rng.choice(_HUGE) & (1 << 8 * width) - 1
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def _noise(data: bytes, at: int, rng: random.Random) -> bytes:
    size = rng.randrange(1, 32)
    return data[:at] + rng.randbytes(size) + data[at + size :]


def _remove(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + data[at + rng.randrange(1, 64) :]


def _repeat(data: bytes, at: int, rng: random.Random) -> bytes:
    end = at + rng.randrange(1, 256)
    return data[:end] + data[at:]


_CHANGES: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (
    _cut,
    _flip,
    _put,
    _huge_varint,
    _huge_number,
    _noise,
    _remove,
    _repeat,
)


def cases(
    kind: str, count: int, seed: int, scratch: Path
) -> Iterator[tuple[int, bytes]]:
    """Numbered damaged files; the number alone makes the file anew."""
    given = seeds(kind, scratch)
    small = [p for p in given if p.stat().st_size <= _LARGEST_SEED]
    large = [p for p in given if p.stat().st_size > _LARGEST_SEED]
    read: dict[Path, tuple[bytes, list[int]]] = {}
    for number in range(count):
        rng = random.Random(f"{kind} {seed} {number}")
        path = rng.choice(large if large and (number % 20 == 0 or not small) else small)
        if path not in read:
            data = path.read_bytes()
            read[path] = data, structure(data)
        yield number, damaged(*read[path], rng)


def read_all(path: Path, kind: str) -> None:
    """Everything that is read of a file, all of its values too."""
    contents = read_contents(path)
    for layer in contents.layers:
        for blob in layer.blobs:
            if blob is not None:
                blob.array()
    if kind == "binary" and contents.kind == "caffemodel":
        to_prototxt(upgrade(read_definition(path), Diagnostics()))


def _too_slow(_signal: int, _frame: object) -> None:
    raise TimeoutError


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--kind", choices=[*SEEDS, "keras"], default="binary")
    chosen = options.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGALRM, _too_slow)
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for number, data in cases(chosen.kind, chosen.count, chosen.seed, scratch):
            os.write(1, f"\r{number}".encode())
            path = scratch / f"{number}.caffemodel"
            path.write_bytes(data)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            faulthandler.dump_traceback_later(SECONDS_IN_A_LIBRARY, exit=True)
            try:
                read_all(path, chosen.kind)
            except TranslationError:
                refused += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            path.unlink()
    faulthandler.cancel_dump_traceback_later()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\r{chosen.count} files, {refused} refused, at most {peak >> 10} MB")
    sys.exit(0 if refused else 1)


if __name__ == "__main__":
    main()
