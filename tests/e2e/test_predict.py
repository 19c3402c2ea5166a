"""An emitted predict.py at work on the photographs of a sample's database."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import lmdb
import numpy as np
import pytest

from caffe2k import port_weights
from caffe2k.schema.caffe_pb2 import Datum
from caffe2k.translation import translate
from tests.e2e.processes import python

VGG = Path(__file__).resolve().parents[2] / "samples" / "vgg_like"
COUNT = 12


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "keras"
    weights = VGG / "vgg_like_iter_200.caffemodel"
    translate(VGG / "deploy.prototxt", weights=weights).write(folder)
    return folder


@pytest.fixture(scope="module")
def patches(project: Path) -> list[int]:
    """Labels of the first test patches, which are written as 0.jpg and so on."""
    labels = []
    with (
        lmdb.open(str(VGG / "patches_test_lmdb"), readonly=True, lock=False) as data,
        data.begin() as transaction,
    ):
        records = islice(transaction.cursor().iternext(keys=False), COUNT)
        for number, record in enumerate(records):
            datum = Datum.FromString(record)
            (project / f"{number}.jpg").write_bytes(datum.data)
            labels.append(datum.label)
    (project / "labels.txt").write_text("class 0\nclass 1\n")
    return labels


def predict(project: Path, *arguments: str) -> str:
    images = [f"{number}.jpg" for number in range(COUNT)]
    return python("predict.py", *images, *arguments, folder=project).stdout


@pytest.mark.slow
def test_classes_and_blobs(project: Path, patches: list[int]) -> None:
    printed = predict(project, "--labels", "labels.txt", "--top", "1")
    found = re.findall(r'^(\d\.\d{4}) - "class (\d)"$', printed, re.MULTILINE)
    right = [int(n) == label for (_, n), label in zip(found, patches, strict=True)]
    # Caffe's accuracy on the whole test set is 0.95.
    assert sum(right) >= COUNT - 1

    said = predict(project, "--blob", "prob", "--out", "prob.npy")
    assert f"prob is what layer 'prob' gives: ({COUNT}, 2)" in said
    probabilities = np.load(project / "prob.npy")
    best = [f"{row.max():.4f}" for row in probabilities]
    assert best == [probability for probability, _ in found]

    said = predict(project, "--blob", "conv1_1", "--out", "conv.npy", "--oversample")
    assert "conv1_1 is what layer 'conv1_1' gives, after relu1_1 in place" in said
    conv = np.load(project / "conv.npy")
    assert conv.shape[:2] == (10 * COUNT, 12)
    assert conv.min() == 0


@pytest.mark.slow
def test_weights_of_another_net_are_told(project: Path, patches: list[int]) -> None:
    lenet = VGG.parent / "digits_lenet"
    target = project / "lenet.h5"
    port_weights(lenet / "deploy.prototxt", lenet / "lenet_iter_400.caffemodel", target)
    result = python("predict.py", "0.jpg", "--weights", "lenet.h5", folder=project)
    assert "kept (not in the file)    conv1_1," in result.stderr
