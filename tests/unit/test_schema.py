"""The generated schema: fresh, Caffe's defaults, forks marked, real files read."""

import csv
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from caffe2k.schema import caffe_pb2, generate
from caffe2k.schema.forks import fork_of

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus, ../shared/corpus, is not here"
)

DEFAULTS = [
    ("LRNParameter", "local_size", 5),
    ("LRNParameter", "alpha", 1),
    ("LRNParameter", "beta", 0.75),
    ("LRNParameter", "k", 1),
    ("BatchNormParameter", "eps", 1e-5),
    ("BatchNormParameter", "moving_average_fraction", 0.999),
    ("BatchNormParameter", "use_global_stats", False),
    ("ScaleParameter", "axis", 1),
    ("ScaleParameter", "num_axes", 1),
    ("ScaleParameter", "bias_term", False),
    ("ConvolutionParameter", "bias_term", True),
    ("ConvolutionParameter", "group", 1),
    ("ConvolutionParameter", "axis", 1),
    ("PoolingParameter", "pool", caffe_pb2.PoolingParameter.MAX),
    ("PoolingParameter", "stride", 1),
    ("PoolingParameter", "round_mode", caffe_pb2.PoolingParameter.CEIL),
    ("InnerProductParameter", "transpose", False),
    ("DropoutParameter", "dropout_ratio", 0.5),
    ("EltwiseParameter", "operation", caffe_pb2.EltwiseParameter.SUM),
    ("EltwiseParameter", "stable_prod_grad", True),
    ("SoftmaxParameter", "axis", 1),
    ("AccuracyParameter", "top_k", 1),
    ("LossParameter", "normalization", caffe_pb2.LossParameter.VALID),
    ("ReshapeParameter", "num_axes", -1),
    ("FlattenParameter", "end_axis", -1),
    ("CropParameter", "axis", 2),
    ("ExpParameter", "base", -1),
    ("ELUParameter", "alpha", 1),
    ("MVNParameter", "eps", 1e-9),
    ("HingeLossParameter", "norm", caffe_pb2.HingeLossParameter.L1),
    ("ReductionParameter", "axis", 0),
    ("ContrastiveLossParameter", "margin", 1),
    ("FillerParameter", "type", "constant"),
    ("FillerParameter", "std", 1),
    ("FillerParameter", "sparse", -1),
    ("ParamSpec", "lr_mult", 1),
    ("TransformationParameter", "scale", 1),
    ("DataParameter", "backend", caffe_pb2.DataParameter.LEVELDB),
    ("ImageDataParameter", "batch_size", 1),
    ("WindowDataParameter", "fg_fraction", 0.25),
    ("NetState", "phase", caffe_pb2.TEST),
    ("SolverParameter", "type", "SGD"),
    ("SolverParameter", "momentum", 0),
    ("SolverParameter", "momentum2", 0.999),
    ("SolverParameter", "delta", 1e-8),
    ("SolverParameter", "rms_decay", 0.99),
    ("SolverParameter", "clip_gradients", -1),
    ("SolverParameter", "regularization_type", "L2"),
    ("SolverParameter", "test_initialization", True),
    ("SolverParameter", "snapshot_after_train", True),
    ("SolverParameter", "solver_mode", caffe_pb2.SolverParameter.GPU),
    ("V0LayerParameter", "biasterm", True),
    ("PriorBoxParameter", "flip", True),
    ("PriorBoxParameter", "offset", 0.5),
    ("NormalizeParameter", "eps", 1e-10),
    ("InterpParameter", "zoom_factor", 1),
]

FORK_FIELDS = [
    ("LayerParameter", "permute_param", "ssd", 202),
    ("LayerParameter", "roi_pooling_param", "fast-rcnn", 8266711),
    ("LayerParameter", "psroi_pooling_param", "r-fcn", 10001),
    ("LayerParameter", "detectnet_groundtruth_param", "nvidia", 6801),
    ("LayerParameter", "reorg_param", "intel", 159),
    ("LayerParameter", "shuffle_channel_param", "shufflenet", 164),
    ("LayerParameter", "lstm_param", "caffe-lstm", 20201),
    ("LayerParameter", "interp_param", "pspnet", 20143),
    ("BNParameter", "scale_filler", "segnet", 1),
    ("BNParameter", "slope_filler", "pspnet", 20001),
    ("TransformationParameter", "resize_param", "ssd", 8),
    ("PriorBoxParameter", "min_size", "ssd", 1),
    ("DetectNetGroundTruthParameter.ClassMapping", "src", "nvidia", 1),
]

BVLC_NUMBERS = [
    ("NetParameter", "layer", 100),
    ("NetParameter", "layers", 2),
    ("LayerParameter", "blobs", 7),
    ("V1LayerParameter", "blobs", 6),
    ("V0LayerParameter", "blobs", 50),
    ("LayerParameter", "convolution_param", 106),
    ("LayerParameter", "input_param", 143),
    ("LayerParameter", "recurrent_param", 146),
    ("LayerParameter", "clip_param", 148),
    ("BlobProto", "data", 5),
    ("BlobProto", "shape", 7),
    ("Datum", "encoded", 7),
    ("SolverState", "history", 3),
    ("LossParameter", "normalization", 3),
]

NOT_CAFFE = {
    "BVLC+caffe/hist-5e61f55__examples__mnist__lenet_stepearly_solver.prototxt",
    "BVLC+caffe/hist-b442dc6__examples__mnist__lenet_consolidated_solver.prototxt",
    "chuanqi305+MobileNet-SSD/template__MobileNetSSD_train_template.prototxt",
    "chuanqi305+MobileNet-SSD/template__MobileNetSSD_test_template.prototxt",
    "codabeans+StarCraft-Micro-AI/hist-3c4163b__models__example.prototxt",
    "zachteed+MarkovChannel/demos__K+__deact.prototxt",
    "zachteed+MarkovChannel/demos__K+__gv.prototxt",
}
"""Fields and values that no Caffe has: BVLC's own slips, templates, other formats."""


def message_descriptor(name: str) -> Descriptor:
    return caffe_pb2.DESCRIPTOR.pool.FindMessageTypeByName(f"caffe.{name}")


def all_fields() -> Iterator[FieldDescriptor]:
    pending = list(caffe_pb2.DESCRIPTOR.message_types_by_name.values())
    while pending:
        message = pending.pop()
        pending.extend(message.nested_types)
        yield from message.fields


def test_generated_files_are_fresh() -> None:
    assert generate.stale_outputs() == []


def test_check_names_the_stale_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "SCHEMA", tmp_path)
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "caffe_pb2.pyi").write_text("old")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "stale: caffe_pb2.pyi; run python -m caffe2k.schema.generate\n"
    )


@pytest.mark.parametrize(("message", "field", "default"), DEFAULTS)
def test_defaults_are_caffes(message: str, field: str, default: Any) -> None:
    value = getattr(getattr(caffe_pb2, message)(), field)
    assert value == (pytest.approx(default) if type(value) is float else default)


@pytest.mark.parametrize(("message", "field", "number"), BVLC_NUMBERS)
def test_bvlc_fields_keep_their_numbers(message: str, field: str, number: int) -> None:
    descriptor = message_descriptor(message).fields_by_name[field]
    assert descriptor.number == number
    assert fork_of(descriptor) is None


@pytest.mark.parametrize(("message", "field", "fork", "number"), FORK_FIELDS)
def test_fork_fields_name_their_fork(
    message: str, field: str, fork: str, number: int
) -> None:
    descriptor = message_descriptor(message).fields_by_name[field]
    assert fork_of(descriptor) == fork
    assert descriptor.number == number


def test_a_message_of_a_fork_is_reached_only_by_fields_of_forks() -> None:
    for field in all_fields():
        if fork_of(field) is None and field.message_type is not None:
            assert not all(map(fork_of, field.message_type.fields)), field.full_name


def test_enum_values_of_forks_are_marked() -> None:
    modes = caffe_pb2.LossParameter.NormalizationMode.DESCRIPTOR.values_by_name
    assert modes["NONE"].number == 3
    assert fork_of(modes["NONE"]) is None
    assert fork_of(modes["PRE_FIXED"]) == "r-fcn"


def test_messages_can_be_pickled() -> None:
    layer = caffe_pb2.LayerParameter(name="conv1", type="Convolution", bottom=["data"])
    assert pickle.loads(pickle.dumps(layer)) == layer


def message_type(row: dict[str, str]) -> type[Message]:
    if "labelmap" in row["path"]:
        return caffe_pb2.LabelMap
    if row["kind"] == "solver":
        return caffe_pb2.SolverParameter
    return caffe_pb2.NetParameter


@pytest.mark.slow
@needs_corpus
def test_corpus_parses_and_survives_the_binary_format() -> None:
    refused = set()
    with (CORPUS / "index.csv").open(newline="") as index:
        rows = list(csv.DictReader(index))
    for row in rows:
        text = (CORPUS / row["file"]).read_text(encoding="utf-8-sig")
        root = message_type(row)
        try:
            message = text_format.Parse(text, root())
        except text_format.ParseError:
            refused.add(row["file"].removeprefix("files/"))
        else:
            assert root.FromString(message.SerializeToString()) == message
    assert refused == NOT_CAFFE
    assert len(rows) == 300
