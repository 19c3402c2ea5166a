"""Random nets through the emitted code, blob by blob beside OpenCV.

    python -m tests.fuzz.nets [--count 40] [--seed 0] [--layers 25] [PAGE]

PAGE gets what came of it. A net that OpenCV can't run counts as skipped. The first net
that differs ends the run with its prototxt and code 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zlib
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import numpy as np

from caffe2k.diagnostics import TranslationError
from caffe2k.pipeline import Options
from caffe2k.translation import Translation, translate
from caffe2k.verification import Verdict, verify
from caffe2k.weights.blob import Blob, CaffeModel, FloatArray, LayerBlobs
from caffe2k.weights.caffe_files import write_caffemodel
from tests.fuzz.random_net import RandomNet

TOLERANCE = 1e-3
"""Above the layers' own 1e-5: errors grow through a chain of powers and products."""


def checked(net: RandomNet, folder: Path, data_format: str) -> Verdict:
    """The net beside OpenCV, with random weights.

    Raises AssertionError if a blob has another shape than Caffe gives it, and
    TranslationError if OpenCV can't run the net.
    """
    path, weights = folder / "net.prototxt", folder / "net.caffemodel"
    path.write_text(net.text, encoding="utf-8")
    translation = translate(path)
    assert shapes(translation) == net.shapes
    write_caffemodel(weights, random_weights(translation), {}, force=True)
    options = Options(data_format=data_format)
    return verify(path, weights, options=options, tolerance=TOLERANCE)


def shapes(translation: Translation) -> dict[str, tuple[int | None, ...]]:
    """The shapes of all blobs by name."""
    return {blob.name: shape for blob, shape in translation.net.net.shapes.items()}


def random_weights(translation: Translation) -> CaffeModel:
    """Weights that keep values about 1, always the same for a layer of this name."""
    layers: dict[str, dict[int, Blob]] = {}
    types = {layer.name: layer.type for layer in translation.net.net.layers}
    for _, weight in translation.net.plan.weights():
        for blob in weight.blobs:
            values = _values(
                types[blob.caffe_layer],
                blob.caffe_layer,
                blob.blob_index,
                blob.caffe_shape,
            )
            layer = layers.setdefault(blob.caffe_layer, {})
            layer[blob.blob_index] = Blob(
                blob.caffe_shape, values.size, load=lambda values=values: values
            )
    return CaffeModel(
        "net",
        tuple(
            LayerBlobs(name, types[name], tuple(blobs[i] for i in sorted(blobs)))
            for name, blobs in layers.items()
        ),
    )


def _values(kind: str, name: str, index: int, shape: tuple[int, ...]) -> FloatArray:
    random = np.random.default_rng([zlib.crc32(name.encode()), index])
    if kind == "BatchNorm" and index == 2:
        return np.ones(shape, "float32")
    if index == 0 and len(shape) > 1:
        fan_in = np.prod(shape[1:])
        return random.normal(0, np.sqrt(2 / fan_in), shape).astype("float32").ravel()
    return random.uniform(0.5, 1.5, shape).astype("float32").ravel()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("page", nargs="?", type=Path)
    options.add_argument("--count", type=int, default=40)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--layers", type=int, default=25)
    chosen = options.parse_args()
    seen: Counter[str] = Counter()
    worst = 0.0
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        net = RandomNet(seed, chosen.layers)
        data_format = ("channels_last", "channels_first")[seed % 4 == 3]
        with tempfile.TemporaryDirectory() as folder:
            try:
                verdict = checked(net, Path(folder), data_format)
            except TranslationError as error:
                (refusal,) = error.diagnostics
                if refusal.code != "opencv-refused":
                    raise
                seen["skipped"] += 1
                print(f"{seed}: skipped: {refusal.message}", flush=True)
                continue
        if not verdict.agrees:
            print(net.text)
            sys.exit(f"{seed} ({data_format}): {verdict.first_difference}")
        largest = max(blob.error for blob in verdict.errors)
        print(f"{seed}: {len(verdict.errors)} blobs, {largest:.1e}", flush=True)
        seen[data_format] += 1
        seen["blobs"] += len(verdict.errors)
        worst = max(worst, largest)
    if chosen.page:
        page = _PAGE.format(
            **vars(chosen),
            **{name: seen[name] for name in _COUNTED},
            worst=f"{worst:.0e}",
            opencv=version("opencv-python-headless"),
        )
        chosen.page.write_text(page, encoding="utf-8", newline="\n")


_COUNTED = ("channels_last", "channels_first", "skipped", "blobs")

_PAGE = """\
# Random nets beside OpenCV

Written by `make fuzz-nets`: deploy nets of {layers} random layers (seeds from {seed} on), with random
weights, through the emitted code and through OpenCV {opencv}, which shares no code with us. Their
layers read any blobs before them, some in place, so that axes are brought into every order. All shapes
were worked out apart, by Caffe's rules.

| what | number |
| --- | --- |
| nets that agree, channels last | {channels_last} |
| nets that agree, channels first | {channels_first} |
| blobs compared in them | {blobs} |
| largest error, max abs(a - b) / max(1, max abs(b)) | {worst} |
| nets that OpenCV can't run | {skipped} |
"""


if __name__ == "__main__":
    main()
