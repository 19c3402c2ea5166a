"""The projects whose emitted trees are kept, and how they are made."""

from __future__ import annotations

from pathlib import Path

from caffe2k.translation import Translation, translate

REPOSITORY = Path(__file__).resolve().parents[2]
TREES = Path(__file__).resolve().parent / "trees"

PROJECTS = {
    "digits_lenet": "samples/digits_lenet/solver.prototxt",
    "vgg_like": "samples/vgg_like/solver.prototxt",
    "vgg_like_deploy": "samples/vgg_like/deploy.prototxt",
    "resnet_small": "samples/resnet_small/solver.prototxt",
    "aux_loss": "tests/conformance/solvers/sgd_aux_loss/solver.prototxt",
    "inception_block": "tests/conformance/layers/inception_block/net.prototxt",
    "python_layers": "tests/golden/python_layers.prototxt",
}


def translated(name: str) -> Translation:
    """A project as `caffe2k translate` makes it."""
    return translate(REPOSITORY / PROJECTS[name])


def scripts(folder: Path) -> dict[str, str]:
    """What is kept of a tree: all but the runtime modules, which are copies."""
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix != ".npy"
    }
