"""Seconds and memory to port a VGG16 caffemodel, beside `cp` and other readers.

    python benchmarks/weights.py [--write]

The weights are random. It takes 10 GB in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffe2k.weights.blob import Blob, CaffeModel, LayerBlobs
from caffe2k.weights.caffe_files import write_caffemodel, write_caffemodel_h5

PAGE = Path(__file__).resolve().parents[1] / "docs/benchmarks/weights.md"
RUNS = 5
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_DENSE = ((4096, 25088), (4096, 4096), (1000, 4096))

Shapes = dict[str, tuple[int, ...]]

_MEASURED = """
import os, resource, subprocess, sys, threading, time
def anonymous(pid):
    try:
        lines = open(f"/proc/{pid}/status").read().splitlines()
    except OSError:
        return 0
    return max((int(x.split()[1]) for x in lines if x.startswith("RssAnon")), default=0)
os.sync()
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
peak = 0
while child.poll() is None:
    peak = max(peak, anonymous(child.pid))
    time.sleep(0.005)
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_utime + used.ru_stime, peak * 1024, child.returncode)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true", help=f"write {PAGE.name} anew")
    options.add_argument("--opencv", help="a Python with opencv-python-headless < 5")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        # As where it was installed, all modules are compiled.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(scratch, "bytecode"))
        page = _page(Path(scratch), chosen.opencv or sys.executable)
    if chosen.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page, encoding="utf-8", newline="\n")
    print(page, end="")


def _page(folder: Path, opencv: str) -> str:
    net, model = folder / "vgg16.prototxt", folder / "vgg16.caffemodel"
    net.write_text(_prototxt(), encoding="utf-8")
    write_caffemodel(model, _random(_vgg_shapes()), {})
    ported = folder / "vgg16.h5"
    caffe2k = [sys.executable, "-m", "caffe2k", "weights", str(net), str(model)]
    reads_opencv = f"import cv2; cv2.dnn.readNetFromCaffe({str(net)!r}, {str(model)!r})"
    jobs: dict[str, Callable[[], list[str]]] = {
        "`cp`": lambda: ["cp", str(model), str(folder / "copy")],
        "`cp`, until the disk has it": lambda: [
            "sh",
            "-c",
            f"cp {model} {folder / 'copy'} && sync {folder / 'copy'}",
        ],
        "`import numpy, h5py`, nothing else": lambda: [
            sys.executable,
            "-c",
            "import numpy, h5py",
        ],
        "`caffe2k weights`, to .h5": lambda: [*caffe2k, "-o", str(ported)],
        "protobuf and NumPy, read only": lambda: [
            sys.executable,
            "-c",
            _PROTOBUF,
            str(model),
        ],
        "protobuf, NumPy and h5py, to .h5": lambda: [
            sys.executable,
            "-c",
            _PROTOBUF,
            str(model),
            str(folder / "naive.h5"),
        ],
        "OpenCV's readNetFromCaffe, read only": lambda: [opencv, "-c", reads_opencv],
    }
    rows = []
    results: dict[str, list[Run]] = {name: [] for name in jobs}
    loads = []
    _measured(jobs["`caffe2k weights`, to .h5"]())  # compiles the modules
    for _ in range(RUNS):
        loads.append(os.getloadavg()[0])
        for name, command in jobs.items():
            for leftover in ("copy", "vgg16.h5", "naive.h5"):
                (folder / leftover).unlink(missing_ok=True)
            results[name].append(_measured(command()))
    for name, runs in results.items():
        rows.append(_row(name, runs))
    for leftover in ("copy", "naive.h5", "vgg16.caffemodel"):
        (folder / leftover).unlink(missing_ok=True)
    copied, large = _large(folder)
    rows.append(_row("`cp`, 3.2 GB, once", [copied]))
    rows.append(_row("`caffe2k weights`, 3.2 GB to .h5, once", [large]))
    size = 4 * sum(int(np.prod(shape)) for shape in _vgg_shapes().values())
    return _PAGE.format(
        size=round(size / 1e6),
        runs=RUNS,
        python=platform.python_version(),
        protobuf=version("protobuf"),
        opencv=_opencv_version(opencv),
        cores=os.cpu_count(),
        load=f"{min(loads):.1f} to {max(loads):.1f}",
        rows="\n".join(rows),
    )


class Run(NamedTuple):
    """What a process took: seconds, also of all cores, and bytes of memory."""

    seconds: float
    cpu: float
    peak: float
    worked: bool


def _measured(command: list[str]) -> Run:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, cpu, peak, code = done.stdout.split()
    return Run(float(seconds), float(cpu), float(peak), code == "0")


def _row(name: str, runs: list[Run]) -> str:
    if not all(run.worked for run in runs):
        return f"| {name} | fails | | |"
    seconds = [run.seconds for run in runs]
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    cpu = statistics.median(run.cpu for run in runs)
    peak = max(run.peak for run in runs) / 1e6
    return (
        f"| {name} | {statistics.median(seconds):.2f} ({spread}) | {cpu:.2f} "
        f"| {peak:.0f} |"
    )


def _vgg_shapes() -> Shapes:
    shapes: Shapes = {}
    inputs = 3
    for stage, widths in enumerate(_STAGES, 1):
        for number, width in enumerate(widths, 1):
            shapes[f"conv{stage}_{number}/0"] = (width, inputs, 3, 3)
            shapes[f"conv{stage}_{number}/1"] = (width,)
            inputs = width
    for number, (outputs, dense) in enumerate(_DENSE, 6):
        shapes[f"fc{number}/0"] = (outputs, dense)
        shapes[f"fc{number}/1"] = (outputs,)
    return shapes


def _prototxt() -> str:
    text = 'name: "VGG16"\nlayer { name: "data" type: "Input" top: "data"\n'
    text += "  input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }\n"
    bottom = "data"
    for stage, widths in enumerate(_STAGES, 1):
        for number, width in enumerate(widths, 1):
            name = f"conv{stage}_{number}"
            text += _layer(
                name,
                "Convolution",
                bottom,
                f"convolution_param {{ num_output: {width} kernel_size: 3 pad: 1 }}",
            )
            bottom = name
        text += _layer(
            f"pool{stage}",
            "Pooling",
            bottom,
            "pooling_param { pool: MAX kernel_size: 2 stride: 2 }",
        )
        bottom = f"pool{stage}"
    for number, (outputs, _) in enumerate(_DENSE, 6):
        name = f"fc{number}"
        param = f"inner_product_param {{ num_output: {outputs} }}"
        text += _layer(name, "InnerProduct", bottom, param)
        bottom = name
    return text


def _layer(name: str, kind: str, bottom: str, param: str) -> str:
    wiring = f'bottom: "{bottom}" top: "{name}"'
    return f'layer {{ name: "{name}" type: "{kind}" {wiring} {param} }}\n'


def _random(shapes: Shapes) -> CaffeModel:
    rng = np.random.default_rng(0)
    layers: dict[str, list[Blob]] = {}
    for key, shape in shapes.items():
        count = int(np.prod(shape))

        def load(count: int = count) -> np.ndarray:
            return rng.standard_normal(count, np.float32)

        layers.setdefault(key.partition("/")[0], []).append(
            Blob(shape, count, load=load)
        )
    return CaffeModel(
        "VGG16", tuple(LayerBlobs(n, "", tuple(b)) for n, b in layers.items())
    )


def _large(folder: Path) -> tuple[Run, Run]:
    """To copy and to port a file of 3.2 GB: more than Caffe's binary files can be."""
    net, model = folder / "large.prototxt", folder / "large.caffemodel.h5"
    text = 'layer { name: "data" type: "Input" top: "data"\n'
    text += "  input_param { shape { dim: 1 dim: 20000 } } }\n"
    param = "inner_product_param { num_output: 20000 bias_term: false }"
    net.write_text(
        text
        + _layer("a", "InnerProduct", "data", param)
        + _layer("b", "InnerProduct", "a", param),
        encoding="utf-8",
    )
    shapes: Shapes = {"a/0": (20000, 20000), "b/0": (20000, 20000)}
    write_caffemodel_h5(model, _random(shapes), frozenset())
    caffe2k = [sys.executable, "-m", "caffe2k", "weights", str(net), str(model)]
    # What waits for the disk slows down all who write.
    os.sync()
    copied = _measured(["cp", str(model), str(folder / "copy")])
    (folder / "copy").unlink()
    os.sync()
    return copied, _measured([*caffe2k, "-o", str(folder / "large.h5")])


def _opencv_version(python: str) -> str:
    if python == sys.executable:
        try:
            return version("opencv-python-headless")
        except PackageNotFoundError:
            return "not installed"
    done = subprocess.run(
        [python, "-c", "import cv2; print(cv2.__version__)"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "not installed"


_PROTOBUF = textwrap.dedent("""
    import sys
    import h5py
    import numpy as np
    from caffe2k.schema import caffe_pb2

    net = caffe_pb2.NetParameter()
    with open(sys.argv[1], "rb") as file:
        net.ParseFromString(file.read())
    arrays = {
        f"{layer.name}/{i}": np.array(blob.data, np.float32).reshape(blob.shape.dim)
        for layer in net.layer
        for i, blob in enumerate(layer.blobs)
    }
    if len(sys.argv) > 2:
        with h5py.File(sys.argv[2], "w") as file:
            for name, array in arrays.items():
                file[name] = array.transpose((2, 3, 1, 0)[-array.ndim:] if array.ndim == 4
                    else range(array.ndim)[::-1])
""")

_PAGE = """\
# Porting weights, measured

Written by `benchmarks/weights.py`: a VGG16 caffemodel ({size} MB, random values) that
lies in the file cache, {cores} cores, Python {python}, protobuf {protobuf}, OpenCV
{opencv}. Each line is a whole process; the median of {runs} runs, and the span of them.
"CPU" is the median of the seconds that the cores spent on it, and "MB" the peak of memory
that is not the file's (`RssAnon`). Nothing but the second line waits for the disk. The
machine is shared: its load average was {load} meanwhile, where {cores} is all that
its cores can do. Compare the seconds with that in mind.

| what | seconds | CPU | MB |
| --- | --- | --- | --- |
{rows}
"""

if __name__ == "__main__":
    main()
