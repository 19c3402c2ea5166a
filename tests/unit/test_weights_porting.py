"""Porting by file: every container, there and back, and nets that can't be translated."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.cli.weights import weights
from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.ir.net import Phase
from caffe2k.ops import find_op
from caffe2k.pipeline import Options, translate_net
from caffe2k.porting import FORMATS, Porting, diff_weights, port_weights
from caffe2k.project import read_project
from caffe2k.schema.caffe_pb2 import BlobProto, BlobShape, NetParameter
from caffe2k.weights.blob import CaffeModel, FloatArray, LayerBlobs
from caffe2k.weights.caffemodel import read_caffemodel
from caffe2k.weights.loose_plan import loose_plan
from caffe2k.weights.plan import WeightPlan
from caffe2k.weights.port import match
from tests.unit.nets import convolution, dense, entry, layer

TESTS = Path(__file__).resolve().parents[1]
SHARED = TESTS.parents[1] / "shared" / "conformance"
LENET = SHARED / "nets" / "lenet"
CASES = sorted(
    path.parent
    for folder in (TESTS / "conformance" / "layers", SHARED / "nets")
    for path in folder.glob("*/weights.caffemodel")
)

Arrays = dict[str, list[FloatArray]]


def blobs(path: Path) -> Arrays:
    return {
        la.name: [b.array() for b in la.blobs if b is not None]
        for la in read_caffemodel(path).layers
        if la.blobs
    }


def same(left: Arrays, right: Arrays) -> bool:
    return left.keys() == right.keys() and all(
        [a.tobytes() for a in left[name]] == [a.tobytes() for a in right[name]]
        for name in left
    )


def phase_of(case: Path) -> Options:
    with np.load(case / "io.npz") as io:
        return Options(phase=Phase[str(io["phase"]) if "phase" in io else "TEST"])


def unscaled(found: LayerBlobs) -> list[FloatArray]:
    """A BatchNorm's blobs as they come back from Keras."""
    mean, variance, factor = (b.array() for b in found.blobs if b is not None)
    if factor[0] == 0:
        return [mean, variance, factor]
    scale = np.float32(1) / factor
    return [mean * scale, variance * scale, np.ones(1, np.float32)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_there_and_back_is_bit_exact(case: Path, tmp_path: Path) -> None:
    net, options = case / "net.prototxt", phase_of(case)
    given = read_caffemodel(case / "weights.caffemodel").layers
    expected = {
        la.name: unscaled(la)
        if la.type == "BatchNorm"
        else [b.array() for b in la.blobs if b is not None]
        for la in given
        if la.blobs
    }
    for name in ("keras.h5", "keras.weights.h5"):
        port_weights(net, case / "weights.caffemodel", tmp_path / name, options=options)
        back = tmp_path / f"{name}.caffemodel"
        port_weights(net, tmp_path / name, back, options=options)
        assert same(blobs(back), expected)
        types = {la.name: la.type for la in read_caffemodel(back).layers}
        assert types == {la.name: la.type for la in given if la.name in types}


@pytest.mark.skipif(not LENET.is_dir(), reason="../shared/conformance is not here")
@pytest.mark.parametrize("to", FORMATS)
def test_all_of_lenets_containers_become_the_same(to: str, tmp_path: Path) -> None:
    files = set()
    for name in (
        "weights.caffemodel",
        "weights.caffemodel.h5",
        "weights_v1.caffemodel",
        "weights_v0.caffemodel",
    ):
        output = tmp_path / f"x.{to}"
        porting = port_weights(LENET / "net.prototxt", LENET / name, output, force=True)
        assert porting.coverage.complete
        files.add(output.read_bytes())
    assert len(files) == 1


@pytest.mark.skipif(not LENET.is_dir(), reason="../shared/conformance is not here")
def test_any_container_becomes_any_other_and_back(tmp_path: Path) -> None:
    net, first = LENET / "net.prototxt", LENET / "weights.caffemodel"
    path = first
    for to in ("caffemodel.h5", "weights.h5", "h5", "caffemodel"):
        output = tmp_path / f"x.{to}"
        port_weights(net, path, output)
        path = output
    assert same(blobs(path), blobs(first))
    assert diff_weights(first, tmp_path / "x.weights.h5", net=net) == ()
    assert diff_weights(tmp_path / "x.h5", first) == ()
    assert diff_weights(tmp_path / "x.h5", tmp_path / "x.weights.h5") == ()


NET = (
    entry("data", 2, 3, 8, 8)
    + convolution("conv", "data")
    + "{odd}"
    + layer("pool", "Pooling", "odd", more="pooling_param { kernel_size: 2 stride: 2 }")
    + dense("ip", "pool")
)
KERNEL = np.random.default_rng(0).standard_normal((4, 3, 3, 3), np.float32)
DENSE = np.random.default_rng(1).standard_normal((5, 36), np.float32)
BIAS = np.arange(5, dtype=np.float32)
ODD = np.arange(6, dtype=np.float32).reshape(2, 3)


def write_model(
    path: Path, *, legacy: bool = False, **layers: list[FloatArray]
) -> None:
    net = NetParameter(name="net")
    for name, arrays in layers.items():
        made = net.layer.add(name=name)
        for array in arrays:
            shape = array.shape
            made.blobs.append(BlobProto(data=array.ravel()))
            if legacy:
                sizes = (1,) * (4 - len(shape)) + shape
                keys = ("num", "channels", "height", "width")
                for key, size in zip(keys, sizes, strict=True):
                    setattr(made.blobs[-1], key, size)
            else:
                made.blobs[-1].shape.CopyFrom(BlobShape(dim=shape))
    path.write_bytes(net.SerializeToString())


def ported(odd: str, folder: Path, **options: object) -> tuple[Porting, Arrays]:
    """What becomes of a conv, an odd layer, and an InnerProduct behind both."""
    net, model, output = folder / "n.prototxt", folder / "m.caffemodel", folder / "x.h5"
    net.write_text(NET.replace("{odd}", odd))
    if not model.exists():
        write_model(model, conv=[KERNEL, BIAS[:4]], ip=[DENSE, BIAS])
    porting = port_weights(net, model, output, options=Options(**options))  # type: ignore[arg-type]
    with h5py.File(output) as file:
        return porting, {
            name: [group[w.decode()][()] for w in group.attrs["weight_names"]]
            for name, group in file.items()
        }


PERMUTED = DENSE.reshape(5, 4, 9).transpose(2, 1, 0).reshape(36, 5)


def codes(porting: Porting) -> list[str]:
    return [warning.code for warning in porting.warnings]


def test_a_net_that_can_be_translated_has_the_same_weights(tmp_path: Path) -> None:
    porting, found = ported(layer("odd", "ReLU", "conv"), tmp_path)
    assert codes(porting) == []
    assert np.array_equal(found["conv"][0], KERNEL.transpose(2, 3, 1, 0))
    assert np.array_equal(found["ip"][0], PERMUTED)


@pytest.mark.parametrize("legacy", [False, True])
def test_an_unknown_layer_stops_nothing(legacy: bool, tmp_path: Path) -> None:
    write_model(
        tmp_path / "m.caffemodel",
        legacy=legacy,
        conv=[KERNEL, BIAS[:4]],
        ip=[DENSE, BIAS],
    )
    odd = layer("odd", "Unheard", "conv", more="unheard_param { of: 1 }")
    porting, found = ported(odd, tmp_path)
    assert sorted(codes(porting)) == ["weights-alone", "weights-assumed"]
    assert np.array_equal(found["conv"][0], KERNEL.transpose(2, 3, 1, 0))
    assert np.array_equal(found["conv"][1], BIAS[:4])
    assert np.array_equal(found["ip"][0], PERMUTED)
    assert np.array_equal(found["ip"][1], BIAS)


def test_channels_first_needs_no_order(tmp_path: Path) -> None:
    odd = layer("odd", "Unheard", "conv")
    porting, found = ported(odd, tmp_path, data_format="channels_first")
    assert codes(porting) == ["weights-alone"]
    assert np.array_equal(found["ip"][0], DENSE.T)


@pytest.mark.parametrize("to", ["npz", "safetensors", "caffemodel", "caffemodel.h5"])
def test_of_caffes_own_order_there_is_no_doubt(to: str, tmp_path: Path) -> None:
    ported(layer("odd", "Unheard", "conv"), tmp_path)
    net, model = tmp_path / "n.prototxt", tmp_path / "m.caffemodel"
    porting = port_weights(net, model, tmp_path / f"x.{to}")
    assert codes(porting) == ["weights-alone"]


def test_unknown_parameters_are_ported_raw(tmp_path: Path) -> None:
    write_model(
        tmp_path / "m.caffemodel", conv=[KERNEL, BIAS[:4]], odd=[ODD], ip=[DENSE, BIAS]
    )
    porting, found = ported(layer("odd", "Unheard", "conv"), tmp_path)
    assert "weights-raw" in codes(porting)
    assert np.array_equal(found["odd"][0], ODD)
    assert len(porting.coverage.ported) == 3


@pytest.mark.parametrize(
    "odd",
    [
        layer(
            "odd", "Pooling", "conv", more="pooling_param { pool: STOCHASTIC pad: 1 }"
        ),
        layer("odd", "LRN", "conv", more="lrn_param { local_size: 4 }"),
        layer("odd", "Unheard", "conv no_such_blob"),
    ],
    ids=["no size", "refused by Caffe", "unconnected"],
)
def test_no_mistake_in_the_net_stops_porting(odd: str, tmp_path: Path) -> None:
    porting, found = ported(odd, tmp_path)
    assert "weights-alone" in codes(porting)
    assert np.array_equal(found["ip"][0], PERMUTED)


def test_the_data_need_not_be_there(tmp_path: Path) -> None:
    net = (TESTS.parent / "samples" / "digits_lenet" / "train_val.prototxt").read_text()
    (tmp_path / "net.prototxt").write_text(net)
    model = TESTS.parent / "samples" / "digits_lenet" / "lenet_iter_400.caffemodel"
    porting = port_weights(tmp_path / "net.prototxt", model, tmp_path / "x.h5")
    assert codes(porting) == ["weights-alone"]
    port_weights(model, None, tmp_path / "y.h5")
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "y.h5").read_bytes()


def arrays_of(model: CaffeModel, plan: WeightPlan) -> dict[tuple[str, int], FloatArray]:
    """Keras's arrays by the blobs that they are made of."""
    layers = {la.name: la for la in match(model, plan)[0]}
    return {
        (place.caffe_layer, place.blob_index): array.array()
        for planned in plan.layers
        for weight, array in zip(
            planned.weights, layers[planned.keras_name].weights, strict=True
        )
        for place in weight.blobs
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layer_by_layer_gives_what_translating_gives(case: Path) -> None:
    model = read_caffemodel(case / "weights.caffemodel")
    net = translate_net(
        read_project(case / "net.prototxt", None, Diagnostics()).net,
        case,
        phase_of(case),
        Diagnostics(),
    )
    found = Diagnostics()
    plan = loose_plan(
        WeightPlan(()),
        net.message,
        model,
        lambda name: name,
        lambda kind: find_op(kind) is not None,
        found,
        channels_last=True,
    )
    # Images of other sizes side by side, and a type without a rule: warnings say so.
    told = ("conv_flatten_concat_ip", "parameter")
    assert bool(found.warnings) == (case.name in told)
    loose = arrays_of(model, plan)
    for key, array in arrays_of(model, net.plan).items():
        if not found.warnings:
            assert loose[key].tobytes() == array.tobytes(), key


def test_what_a_net_lacks_is_told_of_nets_that_can_not_be_translated_too(
    tmp_path: Path,
) -> None:
    write_model(tmp_path / "m.caffemodel", conv=[KERNEL, BIAS[:4]], other=[ODD])
    with pytest.raises(TranslationError) as error:
        ported(layer("odd", "Unheard", "conv"), tmp_path)
    found = {d.code: d.message for d in error.value.diagnostics}
    assert found["weights-missing"] == "the file has no weights for layer `ip`"
    assert "`other` (2, 3)" in found["weights-unused"]
    assert "unsupported-layer" in found


def test_a_file_of_keras_needs_the_translated_net(tmp_path: Path) -> None:
    ported(layer("odd", "ReLU", "conv"), tmp_path)
    net = tmp_path / "odd.prototxt"
    net.write_text(NET.replace("{odd}", layer("odd", "Unheard", "conv")))
    with pytest.raises(TranslationError, match="unsupported-layer"):
        port_weights(net, tmp_path / "x.h5", tmp_path / "back.caffemodel")
    with pytest.raises(TranslationError, match="unsupported-layer"):
        port_weights(net, tmp_path / "m.caffemodel", tmp_path / "y.weights.h5")


def test_the_command_offers_every_format() -> None:
    (option,) = (p for p in weights.params if p.name == "to")
    assert set(option.type.choices) == set(FORMATS)


def test_raw_arrays_need_no_net(tmp_path: Path) -> None:
    write_model(tmp_path / "m.caffemodel", conv=[KERNEL, BIAS[:4]], odd=[ODD])
    with h5py.File(tmp_path / "m.caffemodel.h5", "w") as file:
        file["data/odd/0"] = ODD
    for name, count in (("m.caffemodel", 3), ("m.caffemodel.h5", 1)):
        output = tmp_path / f"{name}.npz"
        assert port_weights(tmp_path / name, None, output).coverage.complete
        assert len(zipfile.ZipFile(output).namelist()) == count
        with np.load(output) as found:
            assert np.array_equal(found["odd/0"], ODD)


def test_shared_blobs_are_in_every_layer_of_a_binary_file(tmp_path: Path) -> None:
    case = TESTS / "conformance" / "solvers" / "sgd_siamese"
    net, model = case / "train_val.prototxt", case / "init.caffemodel"
    port_weights(net, model, tmp_path / "x.caffemodel.h5")
    port_weights(net, tmp_path / "x.caffemodel.h5", tmp_path / "x.caffemodel")
    assert same(blobs(tmp_path / "x.caffemodel"), blobs(model))
    in_h5 = blobs(tmp_path / "x.caffemodel.h5")
    assert len(in_h5) < len(blobs(model))


@pytest.mark.skipif(not LENET.is_dir(), reason="../shared/conformance is not here")
@pytest.mark.parametrize("version", ["v0", "v1"])
def test_raw_arrays_of_old_files_have_todays_shapes(
    version: str, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    port_weights(LENET / f"weights_{version}.caffemodel", None, old)
    port_weights(LENET / "weights.caffemodel", None, new)
    assert old.read_bytes() == new.read_bytes()


@pytest.mark.parametrize("odd", ["", "Unheard"])
@pytest.mark.parametrize("to", ["h5", "npz", "caffemodel"])
def test_blobs_that_hdf5_leaves_out_are_their_owners(
    to: str, odd: str, tmp_path: Path
) -> None:
    sharing = 'param { name: "w" } param { name: "b" } '
    net = tmp_path / "net.prototxt"
    net.write_text(
        entry("data", 2, 5)
        + layer("first", odd or "ReLU", "data")
        + dense("ip", "first", 5, more=sharing)
        + dense("ip_p", "ip", 5, more=sharing)
    )
    binary, hdf5 = tmp_path / "m.caffemodel", tmp_path / "m.caffemodel.h5"
    square = np.arange(25, dtype=np.float32).reshape(5, 5)
    write_model(binary, ip=[square, BIAS], ip_p=[square, BIAS])
    with h5py.File(hdf5, "w") as file:
        for name, values in (("ip/0", square), ("ip/1", BIAS)):
            file[f"data/{name}"] = values
        file.create_group("data/ip_p")
    one, other = tmp_path / f"one.{to}", tmp_path / f"other.{to}"
    port_weights(net, binary, one)
    port_weights(net, hdf5, other)
    assert one.read_bytes() == other.read_bytes()
    if to == "h5":
        assert diff_weights(hdf5, other, net=net) == ()


def test_a_part_of_the_layers_leaves_the_others_out(tmp_path: Path) -> None:
    ported(layer("odd", "ReLU", "conv"), tmp_path)
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file.attrs["layer_names"] = [b"conv"]
    net, back = tmp_path / "n.prototxt", tmp_path / "back.caffemodel"
    with pytest.raises(TranslationError, match="weights-missing"):
        port_weights(net, tmp_path / "x.h5", back)
    port_weights(net, tmp_path / "x.h5", back, allow_partial=True)
    assert list(blobs(back)) == ["conv"]
    assert "ip" not in [la.name for la in read_caffemodel(back).layers]
