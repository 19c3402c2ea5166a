"""Porting by a plan: what is covered, what is not, and Caffe's rules between."""

from collections.abc import Sequence

import numpy as np
import pytest

from caffe2k.diagnostics import TranslationError
from caffe2k.weights.blob import Blob, CaffeModel, FloatArray, LayerBlobs
from caffe2k.weights.coverage import CoverageReport
from caffe2k.weights.plan import (
    KerasLayer,
    PlannedBlob,
    PlannedLayer,
    PlannedWeight,
    WeightPlan,
)
from caffe2k.weights.port import port, to_caffe
from caffe2k.weights.transforms import OI_TO_IO, OIHW_TO_HWIO, Reshape, Transpose

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
BIAS = np.arange(2, dtype=np.float32)
DENSE = np.arange(8, dtype=np.float32).reshape(4, 2)


def blob(array: FloatArray, legacy: Sequence[int] = (), stored: int = -1) -> Blob:
    shape = tuple(legacy) or array.shape
    count = array.size if stored < 0 else stored
    return Blob(shape, count, bool(legacy), load=lambda: array)


def model(**layers: Sequence[Blob | None]) -> CaffeModel:
    found = [LayerBlobs(name, "", tuple(blobs)) for name, blobs in layers.items()]
    return CaffeModel("net", tuple(found))


def conv(name: str = "conv", *aliases: PlannedBlob) -> PlannedLayer:
    return PlannedLayer(
        name,
        (
            PlannedWeight("kernel", name, 0, (2, 3, 2, 2), OIHW_TO_HWIO, aliases[:1]),
            PlannedWeight("bias", name, 1, (2,), (), aliases[1:]),
        ),
    )


def dense(name: str = "ip") -> PlannedLayer:
    return PlannedLayer(name, (PlannedWeight("kernel", name, 0, (4, 2), OI_TO_IO),))


CONV_BLOBS = (blob(KERNEL), blob(BIAS))
PLAN = WeightPlan((conv(), dense()))
SHARED = WeightPlan(
    (conv("a", PlannedBlob("b", 0, (2, 3, 2, 2)), PlannedBlob("b", 1, (2,))),)
)


def names(report: CoverageReport) -> dict[str, list[str]]:
    return {
        "ported": [layer.caffe_layer for layer in report.ported],
        "missing": [layer.caffe_layer for layer in report.missing],
        "unused": [layer.caffe_layer for layer in report.unused],
        "mismatched": [layer.caffe_layer for layer in report.mismatched],
    }


def arrays(layers: Sequence[KerasLayer]) -> dict[str, FloatArray]:
    return {f"{la.name}/{w.name}": w.array() for la in layers for w in la.weights}


def error_of(
    caffe: CaffeModel, plan: WeightPlan, *, allow_partial: bool = False
) -> str:
    with pytest.raises(TranslationError) as error:
        port(caffe, plan, allow_partial=allow_partial)
    return str(error.value)


def test_full_coverage_ports_every_weight_in_keras_order() -> None:
    layers, report = port(model(conv=CONV_BLOBS, relu=(), ip=[blob(DENSE)]), PLAN)
    assert report.complete
    assert names(report)["ported"] == ["conv", "ip"]
    assert report.ported[0].shapes == ((2, 3, 2, 2), (2,))
    assert [(layer.name, len(layer.weights)) for layer in layers] == [
        ("conv", 2),
        ("ip", 1),
    ]
    assert layers[0].weights[0].shape == (2, 2, 3, 2)
    got = arrays(layers)
    assert np.array_equal(got["conv/kernel"], KERNEL.transpose(2, 3, 1, 0))
    assert np.array_equal(got["conv/bias"], BIAS)
    assert np.array_equal(got["ip/kernel"], DENSE.T)


def test_legacy_blobs_get_the_nets_shape() -> None:
    caffe = model(conv=(blob(KERNEL, (2, 3, 2, 2)), blob(BIAS, (1, 1, 1, 2))))
    layers, _ = port(caffe, WeightPlan((conv(),)))
    assert arrays(layers)["conv/bias"].shape == (2,)


def test_missing_and_unused_layers_are_errors_with_their_shapes() -> None:
    caffe = model(conv=CONV_BLOBS, fc8=[blob(DENSE), blob(BIAS)])
    assert error_of(caffe, PLAN) == (
        "error[weights-missing]: the file has no weights for layer `ip` (4, 2)\n"
        "  = help: with --allow-partial it keeps its filler's values\n\n"
        "error[weights-unused]: the net has no place for the file's layer `fc8` "
        "(4, 2), (2,)\n"
        "  = help: with --allow-partial it is left out"
    )


def test_fine_tuning_takes_what_both_have() -> None:
    caffe = model(conv=CONV_BLOBS, fc8=[blob(DENSE)])
    layers, report = port(caffe, PLAN, allow_partial=True)
    assert [layer.name for layer in layers] == ["conv"]
    assert not report.complete
    assert names(report) == {
        "ported": ["conv"],
        "missing": ["ip"],
        "unused": ["fc8"],
        "mismatched": [],
    }
    assert (report.missing[0].keras_name, report.missing[0].shapes) == ("ip", ((4, 2),))
    assert report.unused[0].shapes == ((4, 2),)


@pytest.mark.parametrize("allow_partial", [False, True])
@pytest.mark.parametrize(
    ("blobs", "reason"),
    [
        ([blob(DENSE.T)], "blob 0 is (2, 4) in the file, (4, 2) in the net"),
        (
            [blob(DENSE, (4, 2, 1, 1))],
            "blob 0 is (4, 2, 1, 1) in the file, (4, 2) in the net",
        ),
        ([blob(DENSE), blob(BIAS)], "the file has 2 blobs, the net 1"),
        ([], "the file has 0 blobs, the net 1"),
        ([None], "the file has 0 blobs, the net 1"),
        ([blob(DENSE, stored=7)], "blob 0 of shape (4, 2) has 7 values"),
    ],
)
def test_a_layer_that_does_not_fit_is_always_an_error(
    allow_partial: bool, blobs: list[Blob | None], reason: str
) -> None:
    caffe = model(conv=CONV_BLOBS, ip=blobs)
    assert error_of(caffe, PLAN, allow_partial=allow_partial) == (
        f"error[weights-mismatched]: the weights of layer `ip` don't fit: {reason}\n"
        "  = help: to learn this layer from scratch, rename it in the net"
    )


def test_sharing_layers_count_as_ported() -> None:
    layers, report = port(model(a=CONV_BLOBS, b=CONV_BLOBS), SHARED)
    assert report.complete
    assert names(report)["ported"] == ["a", "b"]
    assert [layer.name for layer in layers] == ["a"]


@pytest.mark.parametrize(
    "caffe",
    [
        model(a=CONV_BLOBS),
        model(a=CONV_BLOBS, b=()),
        model(a=CONV_BLOBS, b=[None, blob(BIAS)]),
        model(b=CONV_BLOBS),
    ],
    ids=["owner alone", "none in the sharer", "one in the sharer", "sharer alone"],
)
def test_one_copy_of_a_shared_blob_is_enough(caffe: CaffeModel) -> None:
    layers, report = port(caffe, SHARED)
    assert report.complete
    assert np.array_equal(arrays(layers)["a/bias"], BIAS)


def test_of_two_copies_of_a_shared_blob_the_last_counts() -> None:
    other = (blob(KERNEL + 1), blob(BIAS + 1))
    layers, _ = port(model(b=other, a=CONV_BLOBS), SHARED)
    assert np.array_equal(arrays(layers)["a/bias"], BIAS)
    layers, _ = port(model(a=CONV_BLOBS, b=other), SHARED)
    assert np.array_equal(arrays(layers)["a/bias"], BIAS + 1)


def test_a_sharer_has_its_own_shape() -> None:
    weight = PlannedWeight(
        "kernel", "a", 0, (4, 2), OI_TO_IO, (PlannedBlob("b", 0, (8,)),)
    )
    plan = WeightPlan((PlannedLayer("a", (weight,)),))
    layers, report = port(model(a=[blob(DENSE)], b=[blob(DENSE.ravel())]), plan)
    assert report.complete
    assert np.array_equal(layers[0].weights[0].array(), DENSE.T)
    assert to_caffe(plan, {"a": [DENSE.T]})["b", 0].shape == (8,)
    assert "blob 0 is (4, 2) in the file, (8,) in the net" in error_of(
        model(a=[blob(DENSE)], b=[blob(DENSE)]), plan
    )


def test_half_a_keras_layer_is_an_error() -> None:
    fused = PlannedLayer(
        "bn",
        (
            PlannedWeight("gamma", "scale", 0, (2,)),
            PlannedWeight("mean", "bn", 0, (2,)),
        ),
    )
    caffe = model(bn=[blob(BIAS)])
    text = error_of(caffe, WeightPlan((fused,)), allow_partial=True)
    assert text.startswith(
        "error[weights-mismatched]: the weights of layer `bn` don't fit: Keras layer "
        "`bn` holds it together with `scale`, which can't be ported\n"
    )


def test_the_last_reshape_is_left_to_the_file() -> None:
    """So that a large kernel is never copied as a whole."""
    steps = (Reshape((4, 2, 1)), Transpose((1, 2, 0)), Reshape((2, 4)))
    plan = WeightPlan(
        (PlannedLayer("ip", (PlannedWeight("k", "ip", 0, (4, 2), steps),)),)
    )
    (layer,), _ = port(model(ip=[blob(DENSE)]), plan)
    (weight,) = layer.weights
    assert np.shares_memory(weight.load(), DENSE)
    assert weight.shape == (2, 4)
    assert np.array_equal(weight.array(), DENSE.T)


def test_to_caffe_undoes_port() -> None:
    plan = WeightPlan((*SHARED.layers, dense()))
    caffe = model(a=CONV_BLOBS, b=CONV_BLOBS, ip=[blob(DENSE)])
    layers, _ = port(caffe, plan)
    keras = {layer.name: [w.array() for w in layer.weights] for layer in layers}
    back = to_caffe(plan, keras)
    expected = {
        ("a", 0): KERNEL,
        ("b", 0): KERNEL,
        ("a", 1): BIAS,
        ("b", 1): BIAS,
        ("ip", 0): DENSE,
    }
    assert back.keys() == expected.keys()
    for key, array in expected.items():
        assert np.array_equal(back[key], array)


def test_to_caffe_refuses_another_number_of_arrays() -> None:
    with pytest.raises(ValueError, match="shorter"):
        to_caffe(PLAN, {"conv": [KERNEL], "ip": [DENSE]})
