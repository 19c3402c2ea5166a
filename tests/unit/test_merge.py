"""TRAIN and TEST in one net."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.ir.net import BOTH_PHASES, Phase
from tests.unit.nets import body, dense, found, layer, translated


def data(phase: str, batch: int, channels: int = 3) -> str:
    shapes = f"shape {{ dim: {batch} dim: {channels} }} shape {{ dim: {batch} }}"
    more = f"include {{ phase: {phase} }} dummy_data_param {{ {shapes} }}"
    return layer("data", "DummyData", top="data label", more=more)


BOTH = data("TRAIN", 4) + data("TEST", 6)
LOSS = layer("loss", "SoftmaxWithLoss", "ip label", "loss")
ONLY_TRAIN, ONLY_TEST = "include { phase: TRAIN }", "include { phase: TEST }"


def test_data_layers_fill_the_same_inputs_and_the_batch_is_open() -> None:
    net = translated(BOTH + dense("ip", "data") + LOSS).net
    ip = next(each for each in net.layers if each.name == "ip")
    assert ip.phases == BOTH_PHASES
    assert net.shapes[ip.bottoms[0]] == (None, 3)


def test_test_only_metrics_join() -> None:
    accuracy = layer("acc", "Accuracy", "ip label", "acc", ONLY_TEST)
    program = translated(BOTH + dense("ip", "data") + LOSS + accuracy).whole.program
    assert [(t.top, t.output, t.target_blob) for t in program.terms] == [
        ("loss", "ip", "label"),
        ("acc", "ip", "label"),
    ]


def test_dropout_in_train_alone_is_no_difference() -> None:
    diagnostics = Diagnostics()
    text = BOTH + layer("drop", "Dropout", "data", "data", ONLY_TRAIN)
    program = translated(text + dense("ip", "data") + LOSS, diagnostics).whole.program
    names = [step.layer.name for step in program.steps]
    assert names == ["drop", "ip"]
    assert found(diagnostics) == []


def test_dropout_that_scales_in_test_is_a_difference() -> None:
    diagnostics = Diagnostics()
    more = f"{ONLY_TRAIN} dropout_param {{ scale_train: false }}"
    text = BOTH + layer("drop", "Dropout", "data", "data", more)
    translated(text + dense("ip", "data") + LOSS, diagnostics)
    assert [code for code, _ in found(diagnostics)] == ["phase-mismatch"]


def test_versions_that_differ_in_the_phase_alone_are_one_layer() -> None:
    def norm(phase: str, use: str) -> str:
        more = f"include {{ phase: {phase} }} batch_norm_param {{ use_global_stats: {use} }}"
        return layer("bn", "BatchNorm", "data", "data", more)

    diagnostics = Diagnostics()
    text = BOTH + norm("TRAIN", "false") + norm("TEST", "true") + dense("ip", "data")
    net = translated(text + LOSS, diagnostics)
    assert found(diagnostics) == []
    assert [step.layer.name for step in net.whole.program.steps] == ["bn", "ip"]
    assert 'model.add(BatchNorm(name="bn"))' in body(text + LOSS)


def test_other_differences_are_said() -> None:
    diagnostics = Diagnostics()
    text = BOTH + dense("ip", "data", 5, ONLY_TRAIN) + dense("ip", "data", 5, ONLY_TEST)
    translated(text + LOSS, diagnostics)
    assert found(diagnostics) == []
    slope = "relu_param { negative_slope: 0.1 }"
    text = (
        BOTH
        + layer("r", "ReLU", "data", "r", ONLY_TRAIN)
        + layer("r", "ReLU", "data", "r", f"{ONLY_TEST} {slope}")
        + dense("ip", "r")
    )
    translated(text + LOSS, diagnostics)
    assert found(diagnostics) == [
        (
            "phase-mismatch",
            (
                "layer `r` differs between TRAIN and TEST in `relu_param`; the Keras "
                "model follows TRAIN"
            ),
        )
    ]


def test_other_wiring_is_said() -> None:
    diagnostics = Diagnostics()
    noise = layer("r", "Sigmoid", "data", "data", ONLY_TRAIN)
    translated(BOTH + noise + dense("ip", "data") + LOSS, diagnostics)
    assert found(diagnostics) == [
        (
            "phase-mismatch",
            (
                "layer `ip` reads other blobs in TEST than in TRAIN; the Keras model "
                "follows TRAIN"
            ),
        )
    ]


def test_a_phase_alone() -> None:
    text = BOTH + dense("ip", "data") + LOSS
    net = translated(text, phase=Phase.TEST).net
    assert net.phases == {Phase.TEST}
    assert net.shapes[net.layers[0].tops[0]] == (6, 3)


def test_ranks_must_agree() -> None:
    diagnostics = Diagnostics()
    other = layer(
        "data",
        "DummyData",
        top="data label",
        more="include { phase: TEST } dummy_data_param { shape { dim: 6 dim: 3 dim: 1 } "
        "shape { dim: 6 } }",
    )
    with pytest.raises(TranslationError, match="phase-rank"):
        translated(data("TRAIN", 4) + other + dense("ip", "data") + LOSS, diagnostics)
