"""InfogainLoss: against Caffe's results and a NumPy reading of the C++."""

import keras
import loss_rules
import numpy as np
import pytest

from caffe2k.runtime import infogain
from caffe2k.runtime.endpoint import LossEndpoint
from caffe2k.runtime.infogain import InfogainLoss

RNG = np.random.default_rng(13)


def test_case_with_a_blob(caffe_case, check, vjp):
    case = caffe_case("infogain_bottom")
    scale = case["param/pre/0"].reshape(1, -1)
    layer = LossEndpoint(InfogainLoss())

    def loss(x, matrix):
        out = layer([x * scale, case["in/label"], matrix])
        return keras.ops.mean(out) + 0 * keras.ops.sum(matrix)

    value, gradients = vjp(loss, [case["in/data"], case["in/H"]])
    check(value, case["out/out"])
    check((gradients[0] * case["in/data"] / scale).sum(0), case["dparam/pre/0"], 1e-4)
    assert not gradients[1].any()


SETTINGS = [
    ((4, 3), 1, 1),
    ((2, 3, 2, 4), 1, 1),
    ((2, 3, 2, 4), 2, 2),
    ((3, 2, 5), -1, 2),
]


@pytest.mark.parametrize("ignore_label", [None, 1, 255])
@pytest.mark.parametrize("normalization", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
@pytest.mark.parametrize(("shape", "axis", "outer"), SETTINGS)
def test_rule(shape, axis, outer, normalization, ignore_label, check, vjp):
    scores = RNG.normal(0, 3, shape).astype("float32")
    classes = shape[axis]
    rest = [d for i, d in enumerate(shape) if i != axis % len(shape)]
    labels = RNG.integers(0, classes, rest).astype("float32")
    if ignore_label is not None:
        labels[RNG.random(labels.shape) < 0.4] = ignore_label
    matrix = RNG.normal(0, 1, (classes, classes)).astype("float32")
    expected, diff = loss_rules.infogain(
        scores, labels, matrix, axis % len(shape), ignore_label, normalization
    )
    loss = InfogainLoss(
        matrix.tolist(), axis, ignore_label, normalization, tuple(range(outer))
    )
    value, gradients = vjp(lambda x: loss(labels, x), [scores])
    check(value, expected)
    check(gradients[0], diff, 1e-4)


def test_channels_last_means_the_same(check):
    scores = RNG.normal(0, 3, (2, 3, 2, 4)).astype("float32")
    labels = RNG.integers(0, 3, (2, 2, 4))
    matrix = RNG.normal(size=(3, 3)).tolist()
    first = InfogainLoss(matrix, 1)(labels, scores)
    check(InfogainLoss(matrix)(labels, scores.transpose(0, 2, 3, 1)), float(first))


def test_improbable_class_has_a_bounded_loss_and_the_full_gradient(check, vjp):
    scores = np.array([[0, 500, 0], [1e10, 0, 0]], "float32")
    labels, matrix = np.array([0, 2]), RNG.random((3, 3))
    expected, diff = loss_rules.infogain(scores, labels, matrix)
    loss = InfogainLoss(matrix.tolist())
    value, gradients = vjp(lambda x: loss(labels, x), [scores])
    check(value, expected)
    check(gradients[0], diff, 1e-4)


def test_label_out_of_range_makes_the_loss_nan():
    loss = InfogainLoss(np.eye(3))
    assert np.isnan(float(loss(np.array([1, 3]), np.zeros((2, 3), "float32"))))


def test_matrix_from_a_file_stays_in_the_model(tmp_path, monkeypatch, check):
    monkeypatch.setattr(infogain, "PROJECT", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"infogain\.npy"):
        InfogainLoss("infogain.npy")
    matrix = RNG.normal(size=(3, 3)).astype("float32")
    np.save(tmp_path / "infogain.npy", matrix)
    loss = InfogainLoss("infogain.npy")
    (tmp_path / "infogain.npy").unlink()
    again = keras.losses.get(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    scores, labels = RNG.normal(size=(2, 3)).astype("float32"), np.array([2, 0])
    check(again(labels, scores), loss_rules.infogain(scores, labels, matrix)[0])


def test_refuses_a_matrix_of_another_size():
    with pytest.raises(ValueError, match="3 rows and columns"):
        InfogainLoss(np.eye(2))(np.array([1]), np.zeros((1, 3), "float32"))


def test_fit_is_compiled():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", InfogainLoss(np.eye(3)))
    x, y = RNG.normal(size=(7, 4)).astype("float32"), RNG.integers(0, 3, 7)
    assert np.isfinite(model.fit(x, y, batch_size=4, verbose=0).history["loss"][0])
