"""`caffe2k verify`: the verdict, its exit code, and what it names."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import caffe2k.verification
from caffe2k.cli import main
from caffe2k.ir.net import Phase
from caffe2k.porting import port_weights
from caffe2k.translation import Translation
from caffe2k.verification import BlobError, Verdict
from caffe2k.verification.comparison import compare
from caffe2k.verification.opencv_blobs import opencv_blobs
from caffe2k.verification.reference import read_reference
from caffe2k.weights.errors import WeightsError
from tests.fuzz.nets import checked
from tests.fuzz.random_net import RandomNet

LENET = Path(__file__).resolve().parents[2] / "samples" / "digits_lenet"
LAYERS = LENET.parents[1] / "tests" / "conformance" / "layers"


def verify(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


def test_opencv_computes_the_same_blobs() -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV reads no Caffe nets")
    result = verify(LENET / "deploy.prototxt", LENET / "lenet_iter_400.caffemodel")
    assert result.exit_code == 0, result.output
    names = [line.split()[0] for line in result.stdout.splitlines() if "x" in line]
    assert names[:7] == ["conv1", "pool1", "conv2", "pool2", "ip1", "ip2", "prob"]
    assert "the same as OpenCV: 7 blobs" in result.stdout


def test_opencv_gets_weights_that_it_can_not_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV reads no Caffe nets")
    net, weights = LENET / "deploy.prototxt", tmp_path / "lenet.caffemodel.h5"
    port_weights(net, LENET / "lenet_iter_400.caffemodel", weights)

    def keras_blobs(
        translation: Translation, inputs: dict[str, Any], _: Path
    ) -> dict[str, Any]:
        test_net = translation.net.phases[Phase.TEST]
        return opencv_blobs(test_net, LENET / "lenet_iter_400.caffemodel", inputs)

    monkeypatch.setattr(caffe2k.verification, "keras_blobs", keras_blobs)
    result = verify(net, weights)
    assert "the same as OpenCV: 7 blobs, largest error 0.0e+00" in result.output


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_blobs_of_caffe_itself(tmp_path: Path, data_format: str) -> None:
    case = LAYERS / "conv_pool_ip_ip"
    with np.load(case / "io.npz") as npz:
        blobs = {
            key.partition("/")[2]: npz[key]
            for key in npz.files
            if key.startswith(("in/", "out/"))
        }
    reference = tmp_path / "blobs.npz"
    np.savez(reference, **blobs)
    arguments = ("--data-format", data_format, "--reference", reference)
    result = verify(case / "net.prototxt", case / "weights.caffemodel", *arguments)
    assert result.exit_code == 0, result.output
    assert "the same as blobs.npz: 1 blobs" in result.stdout


def test_the_first_blob_that_differs_is_named() -> None:
    ours = {name: np.zeros((2, 3), "float32") for name in ("a", "b", "c", "d")}
    theirs = {**ours, "b": ours["b"] + 5e-5, "c": ours["c"] + 1, "d": ours["d"] + 2}
    verdict = compare(ours, {**theirs, "e": ours["a"]}, "Caffe", 1e-4)
    assert [e.blob for e in verdict.errors] == ["a", "b", "c", "d"]
    assert [round(e.error, 6) for e in verdict.errors] == [0, 5e-5, 1, 1]
    assert verdict.not_compared == ("e",)
    first = verdict.first_difference
    assert first is not None
    assert first.blob == "c"
    assert not verdict.agrees


def test_copies_of_caffes_own_are_not_missed() -> None:
    a, copy = np.ones(2), "a_ip_0_split_1"
    verdict = compare({"a": a, "x_split_0": a}, {"a": a, copy: a}, "Caffe", 0)
    assert verdict.not_compared == ("x_split_0",)


def damaged_archive(path: Path) -> None:
    np.savez_compressed(path, a=np.arange(1000))
    data = bytearray(path.read_bytes())
    data[100:300] = bytes(b ^ 0x55 for b in data[100:300])
    path.write_bytes(data)


def archive_of_text(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", "text")


def encrypted_archive(path: Path) -> None:
    np.savez(path, a=np.ones(3))
    data = bytearray(path.read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(header) + flags] |= 1
    path.write_bytes(data)


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


@pytest.mark.parametrize(
    "write",
    [
        damaged_archive,
        archive_of_text,
        encrypted_archive,
        one_array,
        lambda path: np.savez(path, a=np.array(["text"])),
        lambda path: np.savez(path, a=np.array([None])),
        lambda path: np.savez(path, a=np.ones(3, complex)),
        Path.mkdir,
    ],
)
def test_what_holds_no_blobs_is_no_reference(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / "blobs.npz")
    with pytest.raises(WeightsError, match="reference-unreadable"):
        read_reference(tmp_path / "blobs.npz")


@pytest.mark.parametrize(
    ("ours", "theirs", "agrees"),
    [
        ([1.0, np.nan], [1.0, np.nan], True),
        ([1.0, 2.0], [1.0, np.nan], False),
        ([1.0, np.nan], [1.0, 2.0], False),
        ([1.0, np.inf], [1.0, np.inf], True),
        ([1.0, np.inf], [1.0, 2.0], False),
        ([1.0, 2.0], [1.0, 2.0, 3.0], False),
        ([], [], True),
        ([1e6, 0.0], [1e6 + 1, 0.0], True),
    ],
)
def test_values_that_are_no_numbers(
    ours: list[float], theirs: list[float], agrees: bool
) -> None:
    verdict = compare({"x": np.array(ours)}, {"x": np.array(theirs)}, "Caffe", 1e-4)
    assert verdict.agrees is agrees


@pytest.mark.parametrize(
    ("errors", "exit_code", "words"),
    [
        ((BlobError("a", (2, 3), 0.5),), 1, "`a` is the first blob that differs"),
        ((BlobError("a", (), 0.0),), 0, "the same as Caffe: 1 blobs"),
        ((), 1, "nothing could be compared"),
    ],
)
def test_the_exit_code_is_the_verdict(
    monkeypatch: pytest.MonkeyPatch,
    errors: tuple[BlobError, ...],
    exit_code: int,
    words: str,
) -> None:
    def found(*_: object, **__: object) -> Verdict:
        return Verdict("Caffe", 1e-4, errors, ())

    monkeypatch.setattr(caffe2k.verification, "verify", found)
    result = verify("deploy.prototxt", "lenet.caffemodel")
    assert result.exit_code == exit_code
    assert words in result.stdout


def test_the_recipe_of_a_solver_runs_its_net() -> None:
    result = verify(LENET / "solver.prototxt", "lenet.caffemodel", "--recipe")
    assert f"caffe.Net('{LENET}/train_val.prototxt'" in result.stdout


def test_the_recipe_is_python_whatever_the_files_are_called() -> None:
    result = verify("it's.prototxt", 'a"b.caffemodel', "--recipe")
    compile(result.stdout, "dump.py", "exec")
    assert "it's.prototxt" in result.stdout
    assert len(result.stdout.splitlines()) <= 12


@pytest.mark.parametrize(
    ("seed", "data_format"), [(0, "channels_last"), (3, "channels_first")]
)
def test_random_nets_are_the_same_in_opencv(
    seed: int, data_format: str, tmp_path: Path
) -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV reads no Caffe nets")
    verdict = checked(RandomNet(seed, 25), tmp_path, data_format)
    assert verdict.agrees, verdict.first_difference
    assert len(verdict.errors) > 20
