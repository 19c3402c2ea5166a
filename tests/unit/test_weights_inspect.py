"""`inspect` and `diff`: what is in a file, and in which way two differ."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from caffe2k.cli import main
from caffe2k.schema.caffe_pb2 import (
    BlobProto,
    BlobShape,
    LayerParameter,
    NetParameter,
    SolverState,
)
from caffe2k.weights import slabs
from caffe2k.weights.blob import Blob, CaffeModel, FloatArray, LayerBlobs
from caffe2k.weights.compare import Difference, differences
from caffe2k.weights.statistics import Statistics, statistics

LENET = Path(__file__).resolve().parents[2] / "samples" / "digits_lenet"


def caffe2k(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def proto(array: FloatArray) -> BlobProto:
    return BlobProto(shape=BlobShape(dim=array.shape), data=array.ravel())


def blob(array: FloatArray) -> Blob:
    return Blob(array.shape, array.size, load=lambda: array)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    net = NetParameter(name="Ünet")
    net.layer.add(name="data", type="Input", top=["data"])
    net.layer[0].input_param.shape.add(dim=[1, 3])
    arrays = [np.array([[1, 2, 3], [4, np.nan, np.inf]], np.float32), np.zeros(2)]
    ip = LayerParameter(name="ip", type="InnerProduct", bottom=["data"], top=["ip"])
    ip.inner_product_param.num_output = 2
    ip.blobs.extend(map(proto, arrays))
    net.layer.append(ip)
    (tmp_path / "x.caffemodel").write_bytes(net.SerializeToString())
    return tmp_path / "x.caffemodel"


def test_a_caffemodel_is_shown_blob_by_blob(model: Path) -> None:
    result = caffe2k("inspect", model)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout == (
        f"{model}: caffemodel, net Ünet\n\n"
        "layer  type          blob  shape  note               values  bytes  min  mean"
        "  max    std\n"
        "data   Input\n"
        "ip     InnerProduct  0     2 x 3  2 NaN or infinite       6     24    1   2.5"
        "    4  1.118\n"
        "                     1     2      all zero                2      8    0     0"
        "    0      0\n\n"
        "2 layers, 2 blobs, 8 values, 32 bytes as floats\n"
    )


def test_scripts_get_json(model: Path) -> None:
    found = json.loads(caffe2k("inspect", model, "--json").stdout)
    assert found["kind"] == "caffemodel"
    assert found["net"] == "Ünet"
    assert found["values"] == 8
    data, ip = found["layers"]
    assert (data["name"], data["type"], data["blobs"]) == ("data", "Input", [])
    assert ip["blobs"][0]["shape"] == [2, 3]
    assert ip["blobs"][0]["not_finite"] == 2
    assert ip["blobs"][1]["all_zero"] is True


def test_the_net_is_printed_and_read_again(model: Path) -> None:
    text = caffe2k("inspect", model, "--prototxt").stdout
    assert text.startswith('name: "Ünet"\nlayer {\n  name: "data"\n')
    assert "blobs" not in text
    again = model.with_name("x.prototxt")
    again.write_text(text, encoding="utf-8")
    by_text = caffe2k("translate", again).stdout
    by_model = caffe2k("translate", model)
    assert by_model.exit_code == 0
    assert by_model.stdout == by_text.replace("x.prototxt", "x.caffemodel")


def test_a_caffemodel_is_translated_with_its_weights(tmp_path: Path) -> None:
    result = caffe2k(
        "translate", LENET / "lenet_iter_400.caffemodel", "-o", tmp_path / "keras"
    )
    assert result.exit_code == 0, result.stderr
    assert "4 ported, 0 missing, 0 unused, 0 mismatched" in result.stderr
    with h5py.File(tmp_path / "keras" / "DigitsLeNet.h5") as file:
        assert set(file) == {"conv1", "conv2", "ip1", "ip2"}


def test_a_solverstate_is_shown(tmp_path: Path) -> None:
    state = SolverState(iter=7, current_step=2, learned_net="net.caffemodel")
    state.history.append(proto(np.ones((2, 2), np.float32)))
    (tmp_path / "x.solverstate").write_bytes(state.SerializeToString())
    found = json.loads(caffe2k("inspect", tmp_path / "x.solverstate", "--json").stdout)
    assert found["kind"] == "solverstate"
    assert (found["iteration"], found["current_step"]) == (7, 2)
    assert found["weights"] == "net.caffemodel"
    assert found["layers"][0]["blobs"][0]["shape"] == [2, 2]


def test_a_mean_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(proto(np.ones((1, 3, 2, 2), np.float32)).SerializeToString())
    found = json.loads(caffe2k("inspect", path, "--json").stdout)
    assert found["kind"] == "binaryproto"
    assert found["layers"][0]["blobs"][0]["mean"] == 1


def test_a_file_of_keras_is_shown(tmp_path: Path) -> None:
    caffe2k("weights", LENET / "lenet_iter_400.caffemodel", "-o", tmp_path / "x.h5")
    found = json.loads(caffe2k("inspect", tmp_path / "x.h5", "--json").stdout)
    assert found["kind"] == "keras"
    assert [layer["name"] for layer in found["layers"]] == [
        "conv1",
        "conv2",
        "ip1",
        "ip2",
    ]


def test_json_has_no_nan(tmp_path: Path) -> None:
    state = SolverState(iter=3, minimum_loss=np.nan, history=[proto(np.ones(1))])
    path = tmp_path / "x.solverstate"
    path.write_bytes(state.SerializeToString())
    result = caffe2k("inspect", path, "--json")

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    assert json.loads(result.stdout, parse_constant=refuse)["minimum_loss"] is None


def test_a_blob_of_which_values_are_missing_is_shown(tmp_path: Path) -> None:
    net = NetParameter(layer=[LayerParameter(name="ip", blobs=[proto(np.ones(6))])])
    net.layer[0].blobs[0].shape.dim[:] = [5, 3]
    path = tmp_path / "x.caffemodel"
    path.write_bytes(net.SerializeToString())
    assert "5 x 3  6 in the file      15" in caffe2k("inspect", path).stdout
    (layer,) = json.loads(caffe2k("inspect", path, "--json").stdout)["layers"]
    (found,) = layer["blobs"]
    assert (found["values"], found["stored"], found["mean"]) == (15, 6, 1)
    result = caffe2k("diff", path, path)
    assert "blob 0 of layer `ip` of shape (5, 3) needs 15 values" in result.stderr
    assert result.exit_code == 2


def test_names_can_not_drive_a_terminal(tmp_path: Path) -> None:
    net = NetParameter(name="a\x1b[2J", layer=[LayerParameter(name="AAAA")])
    path = tmp_path / "x.caffemodel"
    path.write_bytes(net.SerializeToString().replace(b"AAAA", b"\xff\x1b[m"))
    shown = caffe2k("inspect", path)
    assert shown.exit_code == 0
    assert "net a\N{REPLACEMENT CHARACTER}[2J\n" in shown.stdout
    assert "\x1b" not in shown.stdout


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (SolverState(iter=3, learned_net="x"), "file-is-solverstate"),
        (proto(np.ones(3)), "file-is-binaryproto"),
    ],
)
def test_other_messages_carry_no_net(
    message: SolverState | BlobProto, code: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.caffemodel"
    path.write_bytes(message.SerializeToString())
    for command in (("inspect", "--prototxt", path), ("translate", path, "-o", "x")):
        result = caffe2k(*command)
        assert result.exit_code == 1
        assert f"error[{code}]" in result.stderr


def test_inspect_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    result = caffe2k("inspect", tmp_path / "x")
    assert result.exit_code == 1
    assert "error[file-empty]" in result.stderr


def test_equal_files_do_not_differ(tmp_path: Path) -> None:
    first = LENET / "lenet_iter_400.caffemodel"
    result = caffe2k("diff", first, first)
    assert (result.exit_code, result.output) == (0, "")
    caffe2k("weights", first, "-o", tmp_path / "x.h5")
    assert caffe2k("diff", tmp_path / "x.h5", first).exit_code == 0
    assert caffe2k("diff", first, tmp_path / "x.h5").exit_code == 0


def test_differences_are_a_table(tmp_path: Path) -> None:
    first = LENET / "lenet_iter_400.caffemodel"
    caffe2k("weights", first, "-o", tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["conv1/bias"][3] += 0.5
        del file["ip2/bias"]
        file["ip2/bias"] = np.zeros(9, np.float32)
    result = caffe2k("diff", first, tmp_path / "x.h5")
    assert result.exit_code == 1
    assert result.stdout == (
        "layer  blob  lenet_iter_400.caffemodel  x.h5     values  largest\n"
        "conv1  1     20                         20            1      0.5\n"
        "ip2    0     10 x 64                    64 x 10\n"
        "ip2    1     10                         9\n"
    )
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file["ip2/bias"]
        file["ip2/bias"] = np.zeros(10, np.float32)
    assert caffe2k("diff", first, tmp_path / "x.h5", "--atol", "1").exit_code == 0


def test_what_can_not_be_compared_has_its_own_exit_code(tmp_path: Path) -> None:
    result = caffe2k("diff", LENET / "lenet_iter_400.caffemodel", tmp_path / "no")
    assert result.exit_code == 2
    assert "error[file-missing]" in result.stderr


def test_a_tolerance_is_no_less_than_0(model: Path) -> None:
    result = caffe2k("diff", model, model, "--atol", "-1")
    assert result.exit_code == 2
    assert "-1.0 is not in the range" in result.stderr


def found(a: FloatArray, b: FloatArray, atol: float = 0) -> list[Difference]:
    one, other = (
        CaffeModel("", (LayerBlobs("x", "", (blob(array),)),)) for array in (a, b)
    )
    return list(differences(one, other, atol))


@pytest.mark.parametrize("slab", [4, 1 << 20])
def test_values_are_compared_in_any_layout(
    slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "_SLAB_BYTES", slab)
    a = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    b = np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0)
    assert found(a, b) == []
    c = b.copy()
    c[2, 3, 4] += 2
    c[0, 0, 1] += 1
    assert found(a, c) == [Difference("x", 0, ((3, 4, 5), (3, 4, 5)), 2, 2)]
    assert found(a, c, 1.5) == [Difference("x", 0, ((3, 4, 5), (3, 4, 5)), 1, 2)]


def test_nan_and_infinity_equal_themselves_alone() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0], np.float32)
    assert found(odd, odd.copy()) == []
    (difference,) = found(odd, np.array([0, np.inf, np.inf, 0], np.float32), 1e9)
    assert difference.values == 2
    assert np.isnan(difference.largest)


def test_layers_of_one_file_alone_are_told() -> None:
    layer = LayerBlobs("x", "", (blob(np.ones(2, np.float32)),))
    one, other = CaffeModel("", (layer,)), CaffeModel("", ())
    assert list(differences(one, other, 0)) == [Difference("x", 0, ((2,), None))]
    assert list(differences(other, one, 0)) == [Difference("x", 0, (None, (2,)))]


@pytest.mark.parametrize("slab", [8, 1 << 20])
def test_statistics_are_those_of_the_whole(
    slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "_SLAB_BYTES", slab)
    values = np.random.default_rng(0).standard_normal(1001).astype(np.float32) + 100
    got = statistics(blob(values))
    whole = values.astype(np.float64)
    assert got.minimum == whole.min()
    assert got.maximum == whole.max()
    assert got.mean == pytest.approx(whole.mean(), rel=1e-12)
    assert got.std == pytest.approx(whole.std(), rel=1e-9)
    assert (got.strange, got.all_zero) == (0, False)


def test_statistics_of_nothing() -> None:
    assert statistics(blob(np.zeros(0, np.float32))) == Statistics(
        None, None, None, None, 0
    )
    nan = statistics(blob(np.full(3, np.nan, np.float32)))
    assert nan == Statistics(None, None, None, None, 3)
    assert not nan.all_zero
