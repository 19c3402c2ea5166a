"""Losses and metrics through emitted code: labels of any shape, axes, and layouts.

Expected are the NumPy readings of the C++ in tests/runtime/loss_rules.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from caffe2k.diagnostics import TranslationError
from caffe2k.schema.caffe_pb2 import BlobProto
from tests.conformance.emitted import Arrays, EmittedNet, translated
from tests.conformance.gradients import Passes, run
from tests.conformance.suite import error
from tests.runtime import loss_rules as rules

RNG = np.random.default_rng(21)
FORMS = ("channels_last", "channels_first")


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1.5, shape).astype("float32")


def labels(classes: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, classes, shape).astype("float32")


def write_net(folder: Path, inputs: Mapping[str, np.ndarray], layer: str) -> Path:
    lines = ['name: "losses"']
    for name, array in inputs.items():
        dims = " ".join(f"dim: {d}" for d in array.shape)
        shape = f"input_param {{ shape {{ {dims} }} }}"
        lines.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" {shape} }}')
    path = folder / "net.prototxt"
    path.write_text("\n".join([*lines, layer]))
    return path


def emitted(folder: Path, inputs: Arrays, layer: str, form: str) -> EmittedNet:
    net = write_net(folder, inputs, layer)
    translation = translated(net, None, "TRAIN", folder / "out", data_format=form)
    return EmittedNet(translation, folder / "out", "TRAIN")


def passes(
    folder: Path, inputs: Arrays, layer: str, form: str, douts: Arrays | None = None
) -> Passes:
    return run(emitted(folder, inputs, layer, form), inputs, douts or {})


def check(passes: Passes, loss: float, gradients: Arrays, weight: float = 1.0) -> None:
    assert error(passes.out["out"], np.asarray(loss)) <= 1e-5
    for name, gradient in gradients.items():
        assert error(passes.din[name], weight * gradient) <= 1e-4


def op(type: str, bottoms: str, rest: str = "", tops: str = "out") -> str:
    blobs = [f'bottom: "{b}"' for b in bottoms.split()]
    blobs += [f'top: "{t}"' for t in tops.split()]
    return f'layer {{ name: "op" type: "{type}" {" ".join(blobs)} {rest} }}'


LABEL_SHAPES = [
    # scores, axis, labels
    ((4, 3), 1, (4,)),
    ((4, 3), 1, (4, 1, 1, 1)),
    ((2, 3, 4, 5), 1, (2, 1, 4, 5)),
    ((2, 3, 4, 5), 1, (2, 4, 5)),
    ((2, 3, 4, 5), 1, (2, 20)),
    ((2, 3, 4, 5), 1, (2, 4, 5, 1)),
    ((2, 3, 4, 5), 1, (2, 4, 1, 5)),
    ((2, 3, 4, 5), 2, (2, 3, 5)),
    ((2, 3, 4, 5), 2, (2, 3, 1, 5)),
    ((2, 3, 4, 5), -1, (2, 3, 4)),
    ((2, 3, 2, 4, 2), 1, (2, 2, 4, 2)),
    ((2, 3, 2, 4, 2), 1, (2, 1, 2, 4, 2)),
    ((5, 2, 3), 2, (5, 2)),
    ((2, 3, 1, 1), 1, (2,)),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "axis", "label"), LABEL_SHAPES, ids=str)
@pytest.mark.parametrize("normalization", ["VALID", "BATCH_SIZE"])
def test_labels_of_any_shape(
    shape: tuple[int, ...],
    axis: int,
    label: tuple[int, ...],
    normalization: str,
    form: str,
    tmp_path: Path,
) -> None:
    classes = shape[axis]
    inputs = {"x": normal(*shape), "y": labels(classes, *label)}
    inputs["y"].reshape(-1)[:1] = 9
    settings = (
        f"softmax_param {{ axis: {axis} }} "
        f"loss_param {{ ignore_label: 9 normalization: {normalization} }}"
    )
    loss, diff = rules.infogain(
        inputs["x"], inputs["y"], np.eye(classes), axis % len(shape), 9, normalization
    )
    net = op("SoftmaxWithLoss", "x y", settings)
    check(passes(tmp_path, inputs, net, form), loss, {"x": diff})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "axis", "label"), LABEL_SHAPES, ids=str)
def test_accuracy_of_labels_of_any_shape(
    shape: tuple[int, ...], axis: int, label: tuple[int, ...], form: str, tmp_path: Path
) -> None:
    inputs = {"x": normal(*shape), "y": labels(shape[axis], *label)}
    inputs["y"].reshape(-1)[:1] = 9
    settings = f"accuracy_param {{ axis: {axis} ignore_label: 9 top_k: 2 }}"
    rows = np.moveaxis(inputs["x"], axis, -1).reshape(-1, shape[axis])
    wanted = inputs["y"].reshape(-1).astype(int)
    valid = wanted != 9
    pairs = zip(rows[valid], wanted[valid], strict=True)
    better = [(row >= row[k]).sum() for row, k in pairs]
    found = passes(tmp_path, inputs, op("Accuracy", "x y", settings), form)
    assert error(found.out["out"], np.mean(np.asarray(better) <= 2)) <= 1e-6


def test_labels_that_meet_are_left_to_compile(tmp_path: Path) -> None:
    """No layer is emitted for the usual shapes; transposes only where they must be."""
    for shape, axis, label in LABEL_SHAPES[:5]:
        inputs = {"x": normal(*shape), "y": labels(shape[axis], *label)}
        folder = tmp_path / str(label)
        folder.mkdir()
        net = emitted(folder, inputs, op("SoftmaxWithLoss", "x y"), "channels_last")
        assert len(net.program.losses) == 1
        assert [i.name for i in net.program.inputs] == ["x"]


@pytest.mark.parametrize("form", FORMS)
def test_softmax_as_a_second_top(form: str, tmp_path: Path) -> None:
    """The probabilities come out, and let no gradient back."""
    inputs = {"x": normal(2, 3, 4, 5), "y": labels(3, 2, 4, 5)}
    net = op(
        "SoftmaxWithLoss", "x y", "loss_weight: 0.5 loss_weight: 0", tops="out prob"
    )
    douts = {"prob": normal(2, 3, 4, 5)}
    found = passes(tmp_path, inputs, net, form, douts)
    loss, diff = rules.infogain(inputs["x"], inputs["y"], np.eye(3))
    check(found, loss, {"x": diff}, 0.5)
    assert error(found.out["prob"], rules.softmax(inputs["x"], 1)) <= 1e-5


def test_segnet_class_weighting(tmp_path: Path) -> None:
    inputs = {"x": normal(2, 3, 4, 5), "y": labels(3, 2, 1, 4, 5)}
    weights = (0.5, 2.0, 1.5)
    given = " ".join(f"class_weighting: {w}" for w in weights)
    net = op(
        "SoftmaxWithLoss",
        "x y",
        f"loss_param {{ weight_by_label_freqs: true {given} }}",
    )
    loss, diff = rules.infogain(inputs["x"], inputs["y"], np.diag(weights))
    check(passes(tmp_path, inputs, net, FORMS[0]), loss, {"x": diff})


def matrix_file(folder: Path, matrix: np.ndarray) -> None:
    blob = BlobProto(num=1, channels=1, height=len(matrix), width=len(matrix))
    blob.data.extend(matrix.ravel().tolist())
    (folder / "H.binaryproto").write_bytes(blob.SerializeToString())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("from_file", [False, True])
def test_infogain(from_file: bool, axis: int, form: str, tmp_path: Path) -> None:
    shape = (2, 3, 4, 5)
    classes = shape[axis]
    rest = [d for i, d in enumerate(shape) if i != axis]
    inputs = {"x": normal(*shape), "y": labels(classes, *rest)}
    matrix = normal(classes, classes)
    param, bottoms = f"axis: {axis}", "x y"
    if from_file:
        matrix_file(tmp_path, matrix)
        param += ' source: "H.binaryproto"'
    else:
        inputs["H"] = matrix.reshape(1, 1, classes, classes)
        bottoms += " H"
    net = op(
        "InfogainLoss",
        bottoms,
        f"infogain_loss_param {{ {param} }} loss_weight: 2 loss_weight: 0 "
        "loss_param { normalization: BATCH_SIZE }",
        tops="out prob",
    )
    found = passes(tmp_path, inputs, net, form)
    loss, diff = rules.infogain(
        inputs["x"], inputs["y"], matrix, axis, normalization="BATCH_SIZE"
    )
    check(found, loss, {"x": diff}, 2)
    assert error(found.out["prob"], rules.softmax(inputs["x"], axis)) <= 1e-5
    assert (tmp_path / "out" / "infogain.npy").exists() == from_file


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2), (3, 4, 1, 1)])
@pytest.mark.parametrize("type", ["HingeLoss", "MultinomialLogisticLoss"])
def test_class_losses(
    type: str, shape: tuple[int, ...], form: str, tmp_path: Path
) -> None:
    inputs = {"x": np.abs(normal(*shape)) + 0.1}
    inputs["y"] = labels(int(np.prod(shape[1:])), shape[0])
    settings = "hinge_loss_param { norm: L2 }" if type == "HingeLoss" else ""
    found = passes(tmp_path, inputs, op(type, "x y", settings), form)
    if type == "HingeLoss":
        loss, diff = rules.hinge(inputs["x"], inputs["y"], "L2")
    else:
        loss, diff = rules.multinomial_logistic(inputs["x"], inputs["y"])
    check(found, loss, {"x": diff})


def test_triplet_with_both_tops(tmp_path: Path) -> None:
    inputs = {"x": np.abs(normal(6, 5)), "y": labels(5, 6)}
    net = op(
        "GeneralTripletLoss",
        "x y",
        "loss_weight: 1 loss_weight: 0 "
        "general_triplet_loss_param { margin: 0.5 add_center_loss: false }",
        tops="out distances",
    )
    found = passes(tmp_path, inputs, net, FORMS[0])
    loss, diff = rules.triplet(inputs["x"], inputs["y"], 0.5, False)
    check(found, loss, {"x": diff})
    same = inputs["x"][np.arange(6), inputs["y"].astype(int)].sum()
    others = (inputs["x"].sum() - same) / 6 / 4
    means = found.out["distances"].mean(0)
    assert error(means, np.array([same / 6, others])) <= 1e-5


PAIRS = {
    "L1Loss": (2, rules.l1, ""),
    "EuclideanLoss": (2, rules.euclidean, ""),
    "WeightedEuclideanLoss": (3, rules.euclidean, ""),
    "SmoothL1Loss": (2, rules.smooth_l1, ""),
    "SmoothL1Loss inside": (3, rules.smooth_l1, ""),
    "SmoothL1Loss both": (
        4,
        lambda *blobs: rules.smooth_l1(*blobs, sigma=3),
        "smooth_l1_loss_param { sigma: 3 }",
    ),
    "SmoothL1Loss fixed": (
        2,
        lambda *blobs: rules.smooth_l1(*blobs, divisor=7),
        "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 7 }",
    ),
    "SmoothL1Loss full": (
        2,
        lambda *blobs: rules.smooth_l1(*blobs, divisor=2 * 4 * 5),
        "loss_param { normalization: FULL }",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str, form: str, tmp_path: Path) -> None:
    number, rule, settings = PAIRS[name]
    inputs = {f"b{i}": normal(2, 3, 4, 5) for i in range(number)}
    net = op(name.partition(" ")[0], " ".join(inputs), f"loss_weight: 3 {settings}")
    loss, diffs = rule(*inputs.values())
    gradients = dict(zip(inputs, diffs, strict=False))
    check(passes(tmp_path, inputs, net, form), loss, gradients, 3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("a", "b"), [((2, 1, 4, 5), (2, 4, 1, 5)), ((2, 3, 2, 2), (2, 12))], ids=str
)
def test_pairs_of_different_shapes(
    a: tuple[int, ...], b: tuple[int, ...], form: str, tmp_path: Path
) -> None:
    """They meet value by value in Caffe's order."""
    inputs = {"a": normal(*a), "b": normal(*b)}
    loss, (diff, other) = rules.euclidean(
        inputs["a"].reshape(2, -1), inputs["b"].reshape(2, -1)
    )
    found = passes(tmp_path, inputs, op("EuclideanLoss", "a b"), form)
    check(found, loss, {"a": diff.reshape(a), "b": other.reshape(b)})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 1, 1)])
@pytest.mark.parametrize("legacy", [False, True])
def test_contrastive(
    legacy: bool, shape: tuple[int, ...], form: str, tmp_path: Path
) -> None:
    inputs = {"a": normal(*shape), "b": normal(*shape), "sim": labels(2, 6)}
    settings = f"margin: 2 legacy_version: {str(legacy).lower()}"
    net = op("ContrastiveLoss", "a b sim", f"contrastive_loss_param {{ {settings} }}")
    loss, diffs = rules.contrastive(*inputs.values(), 2.0, legacy)
    check(passes(tmp_path, inputs, net, form), loss, {"a": diffs[0], "b": diffs[1]})


@pytest.mark.parametrize("form", FORMS)
def test_center_loss(form: str, tmp_path: Path) -> None:
    inputs = {"x": normal(4, 3, 2, 2), "y": labels(5, 4)}
    settings = 'num_output: 5 center_filler { type: "xavier" }'
    net = emitted(
        tmp_path,
        inputs,
        op("CenterLoss", "x y", f"loss_weight: 0.1 center_loss_param {{ {settings} }}"),
        form,
    )
    centers = normal(5, 12)
    net.model.get_layer("op").set_weights([centers])
    found = run(net, inputs, {})
    loss, diff, steps = rules.center(inputs["x"], inputs["y"], centers)
    check(found, loss, {"x": diff}, 0.1)
    assert error(found.dparam["op", 0], steps) <= 1e-4
    assert error(found.after["op", 0], centers) == 0


@pytest.mark.parametrize("form", FORMS)
def test_seg_accuracy(form: str, tmp_path: Path) -> None:
    inputs = {"x": normal(2, 3, 4, 5), "y": labels(3, 2, 1, 4, 5)}
    inputs["y"][0, 0, 0] = 255
    net = op("SegAccuracy", "x y", "seg_accuracy_param { ignore_label: 255 }")
    matrix = rules.confusion(inputs["x"], inputs["y"], (255,))
    found = passes(tmp_path, inputs, net, form)
    assert error(found.out["out"], rules.seg_measures(matrix)) <= 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_seg_accuracy_of_a_label_that_the_net_computes(
    form: str, tmp_path: Path
) -> None:
    """As of a label that is shrunk to the size of the scores."""
    inputs = {"x": normal(2, 3, 4, 5), "whole": labels(3, 2, 1, 7, 9)}
    inputs["whole"][0, 0, 0] = 255
    shrunk = 'layer { name: "s" type: "Interp" bottom: "whole" top: "y" '
    shrunk += "interp_param { shrink_factor: 2 } }\n"
    net = op("SegAccuracy", "x y", "seg_accuracy_param { ignore_label: 255 }")
    matrix = rules.confusion(inputs["x"], inputs["whole"][:, :, ::2, ::2], (255,))
    found = passes(tmp_path, inputs, shrunk + net, form)
    assert found.out["out"].shape == (2, 1, 1, 3)
    assert error(found.out["out"][1, 0, 0], rules.seg_measures(matrix)) <= 1e-6


def test_labels_that_the_net_computes(tmp_path: Path) -> None:
    """A sliced label, as of several tasks: loss and accuracy are layers."""
    inputs = {"x": normal(6, 3), "all": labels(3, 6, 2)}
    layers = [
        'layer { name: "s" type: "Slice" bottom: "all" top: "y" top: "z" }',
        op("SoftmaxWithLoss", "x y"),
        op("Accuracy", "x z", tops="acc per").replace('"op"', '"accuracy"'),
        'layer { name: "quiet" type: "Silence" bottom: "y" }',
    ]
    found = passes(tmp_path, inputs, "\n".join(layers), FORMS[0])
    y, z = inputs["all"].T
    loss, diff = rules.infogain(inputs["x"], y, np.eye(3))
    check(found, loss, {"x": diff})
    assert error(found.out["acc"], np.mean(inputs["x"].argmax(1) == z)) <= 1e-6


def test_a_silenced_loss_is_still_trained(tmp_path: Path) -> None:
    inputs = {"x": normal(6, 3), "y": labels(3, 6)}
    silence = 'layer { name: "quiet" type: "Silence" bottom: "out" }'
    net = f"{op('SoftmaxWithLoss', 'x y')}\n{silence}"
    loss, diff = rules.infogain(inputs["x"], inputs["y"], np.eye(3))
    check(passes(tmp_path, inputs, net, FORMS[0]), loss, {"x": diff})


REFUSED = [
    ("bottom-shapes", op("SoftmaxWithLoss", "x y"), {"y": (3,)}),
    ("label-count", op("SoftmaxWithLoss", "x y"), {"y": (4, 2)}),
    ("class-axis", op("SoftmaxWithLoss", "x y", "softmax_param { axis: 0 }"), {}),
    ("loss-weight-count", op("SoftmaxWithLoss", "x y", tops="out prob"), {}),
    (
        "loss-weight",
        op("SoftmaxWithLoss", "x y", "loss_weight: 1 loss_weight: 1", tops="out prob"),
        {},
    ),
    ("top-count", op("SigmoidCrossEntropyLoss", "x x", tops="out prob"), {}),
    (
        "normalization",
        op("SoftmaxWithLoss", "x y", "loss_param { normalization: PRE_FIXED }"),
        {},
    ),
    ("top-k", op("Accuracy", "x y", "accuracy_param { top_k: 4 }"), {}),
    ("label-count", op("HingeLoss", "x y"), {"y": (4, 2)}),
    ("bottom-shapes", op("EuclideanLoss", "x y"), {}),
    ("bottom-shapes", op("SmoothL1Loss", "x y"), {"y": (4, 1, 3)}),
    ("bottom-shapes", op("WeightedEuclideanLoss", "x x y"), {}),
    ("bottom-shapes", op("ContrastiveLoss", "x x y"), {"y": (4, 2)}),
    ("infogain-matrix", op("InfogainLoss", "x y"), {}),
    ("infogain-matrix", op("InfogainLoss", "x y y"), {}),
    (
        "infogain-matrix",
        op("InfogainLoss", "x y", 'infogain_loss_param { source: "no" }'),
        {},
    ),
    (
        "deprecated-normalize",
        op("InfogainLoss", "x y x", "loss_param { normalize: true }"),
        {},
    ),
    (
        "unsupported-option",
        op("SmoothL1Loss", "x x x", "smooth_l1_loss_param { sigma: 3 }"),
        {},
    ),
    (
        "class-weights",
        op(
            "SoftmaxWithLoss",
            "x y",
            "loss_param { weight_by_label_freqs: true class_weighting: 2 }",
        ),
        {},
    ),
    (
        "center-axis",
        op("CenterLoss", "x y", "center_loss_param { num_output: 3 axis: 2 }"),
        {"x": (4, 3, 2)},
    ),
    (
        "distance-type",
        op(
            "CenterLoss",
            "x y",
            'center_loss_param { num_output: 3 distance_type: "L3" }',
        ),
        {},
    ),
    ("label-count", op("SegAccuracy", "x y"), {"y": (4, 2)}),
]


@pytest.mark.parametrize(("code", "layer", "shapes"), REFUSED)
def test_what_is_refused(
    code: str, layer: str, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    given = {"x": (4, 3), "y": (4,), **shapes}
    net = write_net(tmp_path, {n: np.zeros(s) for n, s in given.items()}, layer)
    with pytest.raises(TranslationError) as raised:
        translated(net, None, "TRAIN", tmp_path / "out")
    assert [d.code for d in raised.value.diagnostics] == [code]
