"""Images per second of data.py's readers, beside a tf.data pipeline and a cv2 loop.

    python benchmarks/data.py [--write]

The photographs are those that scikit-learn ships: pip install "caffe2k[bench]". With
--write the table goes to docs/benchmarks/data.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np

from caffe2k.schema.caffe_pb2 import Datum

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPHS, PHOTOGRAPH_SIZE, CROP = 2000, 256, 227
SMALL, SMALL_BATCH = 20_000, 100
BATCH = 64
SECONDS, WINDOWS, RUNS = 0.5, 8, 3

PAGE = f"""# Reading data

Images on {{processor}}: the best of {RUNS} runs, which took turns, each of {WINDOWS} windows of
{SECONDS} seconds. A second of processor is one of all threads together, whatever else the
machine does. `make bench` measures again.

JPEG datums of {PHOTOGRAPH_SIZE} x {PHOTOGRAPH_SIZE} from an LMDB, cropped to {CROP} at
random, mirrored, to float32 batches of {BATCH}. The cv2 loop reads the same LMDB, the
tf.data pipeline the same JPEGs from a TFRecord file; both are as plain as people write
them. The last column is data.py's part of the better one.

| cores | images a | data.py | plain cv2 loop | plain tf.data | ratio |
| --- | --- | --- | --- | --- | --- |
{{rows}}

Raw datums of 3 x 32 x 32 from an LMDB, in batches of {SMALL_BATCH}, on one core:
{{raw:,.0f}} images a second.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        contender, cores, folder = args.measure
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, set(mine[: int(cores)]))
        print(json.dumps(_rates(CONTENDERS[contender](Path(folder), int(cores)))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        _make_data(Path(scratch))
        text = _table(Path(scratch))
    print(text)
    if args.write:
        page = ROOT / "docs" / "benchmarks" / "data.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")


def _table(folder: Path) -> str:
    plan = [(name, cores) for cores in (1, 2) for name in ("ours", "cv2", "tf.data")]
    plan.append(("raw", 1))
    runs = [{key: _measured(*key, folder) for key in plan} for _ in range(RUNS)]
    wall, processor = (
        {key: max(run[key][unit] for run in runs) for key in plan} for unit in (0, 1)
    )
    rows = [
        _row(cores, unit, rates)
        for cores in (1, 2)
        for unit, rates in (("second", wall), ("second of processor", processor))
    ]
    return PAGE.format(processor=_processor(), rows="\n".join(rows), raw=wall["raw", 1])


def _row(cores: int, unit: str, rates: dict[tuple[str, int], float]) -> str:
    ours, *others = (rates[name, cores] for name in ("ours", "cv2", "tf.data"))
    numbers = " | ".join(f"{rate:,.0f}" for rate in (ours, *others))
    return f"| {cores} | {unit} | {numbers} | {ours / max(others):.2f} |"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else ())
        if line.startswith("model name")
    ]
    return names[0] if names else "an unknown processor"


def _measured(name: str, cores: int, folder: Path) -> tuple[float, float]:
    """Images per second, and per second of processor time, in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(cores), str(folder)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    wall, processor = json.loads(done.stdout)
    return wall, processor


def _rates(batches: Iterator[Any]) -> tuple[float, float]:
    """The best of some windows: what else the machine does comes and goes."""
    for _ in range(5):
        next(batches)
    windows = [_window(batches) for _ in range(WINDOWS)]
    return max(wall for wall, _ in windows), max(used for _, used in windows)


def _window(batches: Iterator[Any]) -> tuple[float, float]:
    images, start, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < SECONDS:
        images += len(next(batches)[0])
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    return images / seconds, images / processor


def _make_data(folder: Path) -> None:
    """LMDBs of JPEG and of raw datums, and a TFRecord file of the same JPEGs."""
    rng = np.random.default_rng(0)
    pictures = [_photograph(name) for name in ("china.jpg", "flower.jpg")]
    jpegs = [
        cv2.imencode(".jpg", _cut(pictures[i % 2], PHOTOGRAPH_SIZE, rng))[1].tobytes()
        for i in range(PHOTOGRAPHS)
    ]
    _write_lmdb(
        folder / "jpeg_lmdb",
        (Datum(data=data, label=i % 2, encoded=True) for i, data in enumerate(jpegs)),
    )
    small = (_cut(pictures[i % 2], 32, rng) for i in range(SMALL))
    _write_lmdb(
        folder / "raw_lmdb",
        (
            Datum(
                channels=3,
                height=32,
                width=32,
                data=np.ascontiguousarray(cut.transpose(2, 0, 1)).tobytes(),
                label=i % 2,
            )
            for i, cut in enumerate(small)
        ),
    )
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(folder / "jpeg.tfrecord")) as writer:
        for i, data in enumerate(jpegs):
            image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[i % 2]))
            features = tf.train.Features(feature={"image": image, "label": label})
            writer.write(tf.train.Example(features=features).SerializeToString())


def _photograph(name: str) -> np.ndarray[Any, Any]:
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        sys.exit('the photographs come with scikit-learn: pip install "caffe2k[bench]"')
    path = Path(package.submodule_search_locations[0], "datasets", "images", name)
    return cv2.imread(str(path))


def _cut(
    picture: np.ndarray[Any, Any], size: int, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    """A square of a photograph, from its whole height down to `size`, made `size`."""
    height, width = picture.shape[:2]
    edge = rng.integers(size, height + 1)
    top, left = rng.integers(height - edge + 1), rng.integers(width - edge + 1)
    square = picture[top : top + edge, left : left + edge]
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def _write_lmdb(path: Path, datums: Iterator[Datum]) -> None:
    with (
        lmdb.open(str(path), map_size=1 << 32) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i, datum in enumerate(datums):
            transaction.put(b"%08d" % i, datum.SerializeToString())


def _ours(folder: Path, cores: int) -> Iterator[Any]:
    from caffe2k.runtime.databases import DataReader
    from caffe2k.runtime.readers import Batches
    from caffe2k.runtime.transform import Transformer

    transform = Transformer("TRAIN", crop_size=CROP, mirror=True)
    reader = DataReader(
        folder / "jpeg_lmdb", BATCH, ["data", "label"], "LMDB", transform
    )
    return Batches([reader], "data", "label")


def _raw(folder: Path, cores: int) -> Iterator[Any]:
    from caffe2k.runtime.databases import DataReader
    from caffe2k.runtime.readers import Batches

    tops = ["data", "label"]
    reader = DataReader(folder / "raw_lmdb", SMALL_BATCH, tops, "LMDB")
    return Batches([reader], "data", "label")


def _cv2(folder: Path, cores: int) -> Iterator[Any]:
    """What people write: decode, cut, flip; the images of a batch by as many threads."""
    rng = np.random.default_rng(0)
    environment = lmdb.open(str(folder / "jpeg_lmdb"), readonly=True, lock=False)

    def image(record: bytes) -> tuple[np.ndarray[Any, Any], int]:
        datum = Datum.FromString(record)
        data = np.frombuffer(datum.data, np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
        top, left = rng.integers(PHOTOGRAPH_SIZE - CROP + 1, size=2)
        pixels = pixels[top : top + CROP, left : left + CROP]
        if rng.integers(2):
            pixels = cv2.flip(pixels, 1)
        return pixels.astype(np.float32), datum.label

    with environment.begin() as transaction, ThreadPoolExecutor(cores) as pool:
        records: list[bytes] = []
        while True:
            for record in transaction.cursor().iternext(keys=False):
                records.append(record)
                if len(records) == BATCH:
                    read = (
                        pool.map(image, records) if cores > 1 else map(image, records)
                    )
                    images, labels = zip(*read, strict=True)
                    yield np.stack(images), np.array(labels, np.float32)
                    records = []


def _tf_data(folder: Path, cores: int) -> Iterator[Any]:
    import tensorflow as tf

    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def image(record: Any) -> tuple[Any, Any]:
        example = tf.io.parse_single_example(record, features)
        pixels = tf.io.decode_jpeg(example["image"], channels=3)
        pixels = tf.image.random_crop(pixels, (CROP, CROP, 3))
        pixels = tf.image.random_flip_left_right(pixels)
        return tf.cast(pixels, tf.float32), example["label"]

    dataset = tf.data.TFRecordDataset(str(folder / "jpeg.tfrecord")).repeat()
    dataset = dataset.map(image, num_parallel_calls=tf.data.AUTOTUNE)
    batches: Iterator[Any] = iter(dataset.batch(BATCH).prefetch(tf.data.AUTOTUNE))
    return batches


CONTENDERS = {"ours": _ours, "raw": _raw, "cv2": _cv2, "tf.data": _tf_data}


if __name__ == "__main__":
    main()
