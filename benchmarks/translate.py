"""Whole-process seconds of `caffe2k translate`: a LeNet and a ResNet-152 train_val."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5

_DATA = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: PHASE }
  transform_param { crop_size: 224 mean_value: 104 mean_value: 117 mean_value: 123 }
  data_param { source: "ilsvrc12_PHASE_lmdb" batch_size: 32 backend: LMDB } }
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        resnet = Path(scratch) / "train_val.prototxt"
        resnet.write_text(resnet_152(), encoding="utf-8")
        nets = {
            "LeNet, solver and net": ROOT / "samples/digits_lenet/solver.prototxt",
            f"ResNet-152 train_val, {resnet.stat().st_size // 1024} KB": resnet,
        }
        for title, path in nets.items():
            seconds = [_seconds(path, Path(scratch) / f"{i}") for i in range(RUNS)]
            print(
                f"{title}: median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}"
            )


def _seconds(path: Path, output: Path) -> float:
    command = [sys.executable, "-m", "caffe2k", "translate", str(path)]
    start = time.perf_counter()
    subprocess.run(
        [*command, "-o", str(output / path.stem)], check=True, capture_output=True
    )
    return time.perf_counter() - start


def resnet_152() -> str:
    """A ResNet-152 with data layers, BatchNorm and Scale, as people write them."""
    text = 'name: "ResNet-152"\n'
    text += _DATA.replace("PHASE", "TRAIN") + _DATA.replace("PHASE", "TEST")
    text += _convolution("conv1", "data", 64, 7, stride=2, relu=True)
    text += (
        'layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"\n'
        "  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }\n"
    )
    bottom = "pool1"
    for stage, (blocks, width) in enumerate(
        ((3, 64), (8, 128), (36, 256), (3, 512)), 2
    ):
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 2 else 1
            part, bottom = _block(
                f"res{stage}_{block}", bottom, width, stride, block == 0
            )
            text += part
    return text + (
        f'layer {{ name: "pool5" type: "Pooling" bottom: "{bottom}" top: "pool5"\n'
        "  pooling_param { pool: AVE global_pooling: true } }\n"
        'layer { name: "fc" type: "InnerProduct" bottom: "pool5" top: "fc"\n'
        '  inner_product_param { num_output: 1000 weight_filler { type: "msra" } } }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
        'layer { name: "top5" type: "Accuracy" bottom: "fc" bottom: "label" top: "top5"\n'
        "  include { phase: TEST } accuracy_param { top_k: 5 } }\n"
    )


def _block(
    name: str, bottom: str, width: int, stride: int, project: bool
) -> tuple[str, str]:
    text, shortcut = "", bottom
    if project:
        shortcut = f"{name}_branch1"
        text += _convolution(shortcut, bottom, 4 * width, 1, stride=stride)
    text += _convolution(f"{name}_2a", bottom, width, 1, stride=stride, relu=True)
    text += _convolution(f"{name}_2b", f"{name}_2a", width, 3, relu=True)
    text += _convolution(f"{name}_2c", f"{name}_2b", 4 * width, 1)
    text += (
        f'layer {{ name: "{name}" type: "Eltwise" bottom: "{shortcut}" bottom: "{name}_2c" top: "{name}" }}\n'
        f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{name}" top: "{name}" }}\n'
    )
    return text, name


def _convolution(
    name: str,
    bottom: str,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    relu: bool = False,
) -> str:
    text = (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"\n'
        "  param { lr_mult: 1 decay_mult: 1 }\n"
        f"  convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2}\n"
        f'    stride: {stride} bias_term: false weight_filler {{ type: "msra" }} }} }}\n'
        f'layer {{ name: "bn_{name}" type: "BatchNorm" bottom: "{name}" top: "{name}"\n'
        "  batch_norm_param { eps: 1e-5 } }\n"
        f'layer {{ name: "scale_{name}" type: "Scale" bottom: "{name}" top: "{name}"\n'
        "  scale_param { bias_term: true } }\n"
    )
    if relu:
        text += f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{name}" top: "{name}" }}\n'
    return text


if __name__ == "__main__":
    main()
