"""Which label goes to which output of a model."""

from __future__ import annotations

from caffe2k.codegen.data_layers import ReaderLayer
from caffe2k.codegen.data_wiring import data_functions
from caffe2k.codegen.program import (
    Call,
    LossTerm,
    MetricTerm,
    ModelInput,
    ModelOutput,
    Program,
    Tensor,
    runtime,
)

DIGITS = ReaderLayer("databases", "DataReader", ("data", "label"))


def fed(top: str) -> ReaderLayer:
    """An Input layer."""
    settings = {"shapes": [(2, 3)]}
    return ReaderLayer(
        "memory_data", "InputReader", (top,), settings=settings, takes="blobs"
    )


def targets(program: Program) -> object:
    (function,) = data_functions(program, {"TRAIN": (DIGITS,)})
    return function.outputs


def program(*outputs: str) -> Program:
    made = Program(
        "net", inputs=[ModelInput("data", "data", (None, 3), Tensor("data"))]
    )
    made.outputs = [ModelOutput(key, Tensor(key)) for key in outputs]
    return made


def loss(output: str, label: str) -> LossTerm:
    call = Call(runtime("losses", "SoftmaxWithLoss"))
    return LossTerm("loss", "loss", output, label, call)


def test_one_output_has_its_label_alone() -> None:
    net = program("ip")
    net.losses = [loss("ip", "label")]
    assert targets(net) == "label"


def test_without_losses_and_metrics_there_are_no_labels() -> None:
    assert targets(program("ip", "prob")) is None


def test_every_output_has_a_label() -> None:
    """Keras asks for one as soon as there are metrics."""
    net = program("ip", "prob", "ip2")
    net.losses = [loss("ip", "label")]
    call = Call(runtime("metrics", "Accuracy"))
    net.metrics = [MetricTerm("acc", "acc", "ip2", "label2", call)]
    assert targets(net) == {"ip": "label", "prob": "label", "ip2": "label2"}


def test_input_layers_are_filled_together() -> None:
    net = program("ip")
    net.losses = [loss("ip", "label")]
    (function,) = data_functions(net, {"TRAIN": (fed("data"), DIGITS, fed("label"))})
    first, second = function.readers
    assert first is DIGITS
    assert second.tops == ("data", "label")
    assert second.settings == {"shapes": [(2, 3), (2, 3)]}


def test_a_deploy_net_has_no_data() -> None:
    assert not data_functions(program("prob"), {"TEST": (fed("data"),)})
