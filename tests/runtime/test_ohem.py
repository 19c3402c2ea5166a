"""R-FCN's online hard example mining, against NumPy readings of its CUDA code."""

import numpy as np
import pytest

from caffe2k.pipeline import Options
from caffe2k.runtime.ohem import BoxAnnotatorOHEM, SmoothL1Losses, SoftmaxLosses
from caffe2k.translation import translate
from tests.conformance.emitted import imported

RNG = np.random.default_rng(3)
ORDERS = {-1: (0, 2, 3, 1), 1: (0, 1, 2, 3)}


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def softmax_losses(scores, labels, ignore=None):
    """daijifeng001/caffe-rfcn, softmax_loss_layer.cu: SoftmaxLossForwardGPU."""
    num, _, height, width = scores.shape
    exps = np.exp(scores - scores.max(1, keepdims=True))
    prob = exps / exps.sum(1, keepdims=True)
    losses = np.zeros((num, 1, height, width))
    for n in range(num):
        for y in range(height):
            for x in range(width):
                label = int(labels[n, 0, y, x])
                if label != ignore:
                    p = max(prob[n, label, y, x], np.finfo("float32").tiny)
                    losses[n, 0, y, x] = -np.log(p)
    return losses


def smooth_l1_losses(prediction, target, inside=1.0):
    """smooth_L1_loss_layer.cu: SmoothL1ForwardGPU and kernel_channel_sum."""
    difference = inside * (prediction - target)
    size = np.abs(difference)
    errors = np.where(size < 1, 0.5 * difference**2, size - 0.5)
    return errors.sum(1, keepdims=True)


def annotate(regions, losses, labels, weights, roi_per_img, ignore_label):
    """box_annotator_ohem_layer.cu: Forward_gpu."""
    spatial = regions[0, 0].size
    top_labels = np.full(labels.shape, ignore_label, "float32").ravel()
    top_weights = np.zeros(weights.shape, "float32").reshape(*weights.shape[:2], -1)
    left = dict.fromkeys(range(int(regions[:, 0].max()) + 1), roi_per_img)
    for index in np.argsort(-losses.ravel(), kind="stable"):
        n, s = divmod(index, spatial)
        image = int(regions[n, 0].ravel()[s])
        if left[image] > 0:
            left[image] -= 1
            top_labels[index] = labels.ravel()[index]
            top_weights[n, :, s] = weights[n].reshape(weights.shape[1], -1)[:, s]
    return top_labels.reshape(labels.shape), top_weights.reshape(weights.shape)


@pytest.mark.parametrize("axis", ORDERS)
@pytest.mark.parametrize("ignore", [None, 1, -1])
@pytest.mark.parametrize("shape", [(5, 4, 1, 1), (2, 3, 2, 4)])
def test_softmax_losses(shape, ignore, axis, check):
    order = ORDERS[axis]
    scores = 3 * normal(*shape)
    scores[0, 0] = 200  # beyond FLT_MIN for the other labels
    labels = RNG.integers(0, shape[1], (shape[0], 1, *shape[2:])).astype("float32")
    if ignore == -1:
        labels[-1] = -1
    layer = SoftmaxLosses(axis=axis, ignore_label=ignore)
    inputs = scores.transpose(order), labels.transpose(order)
    out = layer(list(inputs))
    check(out, softmax_losses(scores, labels, ignore).transpose(order))
    assert layer.compute_output_shape([i.shape for i in inputs]) == out.shape


@pytest.mark.parametrize("axis", ORDERS)
@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize("shape", [(5, 8, 1, 1), (2, 3, 2, 4)])
def test_smooth_l1_losses(shape, has_weights, axis, check):
    order = ORDERS[axis]
    blobs = [2 * normal(*shape) for _ in range(2 + has_weights)]
    out = SmoothL1Losses(axis=axis)([b.transpose(order) for b in blobs])
    check(out, smooth_l1_losses(*blobs).transpose(order))


def test_smooth_l1_losses_have_four_axes(check):
    blobs = [2 * normal(3, 4) for _ in range(2)]
    check(SmoothL1Losses()(blobs), smooth_l1_losses(*blobs).reshape(3, 1, 1, 1))


def hard_examples(number, channels, height, width, images):
    regions = normal(number, 5, height, width)
    regions[:, 0] = RNG.integers(0, images, (number, height, width))
    one = (number, 1, height, width)
    losses = np.abs(normal(*one))
    labels = RNG.integers(0, 3, one).astype("float32")
    return regions, losses, labels, np.abs(normal(number, channels, height, width))


@pytest.mark.parametrize(("roi_per_img", "ignore_label"), [(1, -1), (3, 255), (99, -1)])
@pytest.mark.parametrize("shape", [(9, 8, 1, 1), (3, 4, 2, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize("images", [1, 3])
def test_box_annotator(shape, images, roi_per_img, ignore_label, check):
    blobs = hard_examples(*shape, images)
    layer = BoxAnnotatorOHEM(roi_per_img, ignore_label=ignore_label)
    expected = annotate(*blobs, roi_per_img, ignore_label)
    for actual, wanted in zip(layer(list(blobs)), expected, strict=True):
        check(actual, wanted)


def test_equal_losses_are_taken_in_their_order(check):
    regions, losses, labels, weights = hard_examples(6, 4, 1, 1, 1)
    losses[:] = 1
    labels, weights = BoxAnnotatorOHEM(2)([regions, losses, labels + 5, weights])
    assert (np.asarray(labels).ravel() >= 5).tolist() == [True] * 2 + [False] * 4


NET = """
name: "OHEM"
layer { name: "scores" type: "Input" top: "scores"
  input_param { shape { dim: 6 dim: 3 dim: 1 dim: 1 } } }
layer { name: "boxes" type: "Input" top: "boxes"
  input_param { shape { dim: 6 dim: 4 dim: 1 dim: 1 } } }
layer { name: "rois" type: "Input" top: "rois"
  input_param { shape { dim: 6 dim: 5 dim: 1 dim: 1 } } }
layer { name: "labels" type: "Input" top: "labels"
  input_param { shape { dim: 6 dim: 1 dim: 1 dim: 1 } } }
layer { name: "targets" type: "Input" top: "targets"
  input_param { shape { dim: 6 dim: 4 dim: 1 dim: 1 } } }
layer { name: "weights" type: "Input" top: "weights"
  input_param { shape { dim: 6 dim: 4 dim: 1 dim: 1 } } }
layer { name: "cls" type: "Power" bottom: "scores" top: "cls"
  power_param { scale: 2 } }
layer { name: "box" type: "Power" bottom: "boxes" top: "box" power_param { scale: 3 } }
layer { name: "roi_cls" type: "SoftmaxWithLoss" bottom: "cls" bottom: "labels"
  top: "temp_cls" top: "temp_prob" top: "roi_cls"
  loss_weight: 0 loss_weight: 0 loss_weight: 0
  propagate_down: false propagate_down: false }
layer { name: "roi_box" type: "SmoothL1Loss" bottom: "box" bottom: "targets"
  bottom: "weights" top: "temp_box" top: "roi_box" loss_weight: 0 loss_weight: 0
  propagate_down: false propagate_down: false propagate_down: false }
layer { name: "roi" type: "Eltwise" bottom: "roi_cls" bottom: "roi_box" top: "roi" }
layer { name: "hard" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "roi"
  bottom: "labels" bottom: "weights" top: "hard_labels" top: "hard_weights"
  box_annotator_ohem_param { roi_per_img: 2 } }
layer { name: "silence" type: "Silence" bottom: "temp_cls" bottom: "temp_prob"
  bottom: "temp_box" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "cls" bottom: "hard_labels"
  top: "loss" loss_param { ignore_label: -1 } }
"""


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_in_a_net(data_format, tmp_path, check):
    (tmp_path / "net.prototxt").write_text(NET, encoding="utf-8")
    options = Options(data_format=data_format)
    translate(tmp_path / "net.prototxt", options=options).write(tmp_path / "keras")
    regions, _, labels, weights = hard_examples(6, 4, 1, 1, 2)
    given = {
        "scores": normal(6, 3, 1, 1),
        "boxes": normal(6, 4, 1, 1),
        "rois": regions,
        "labels": labels,
        "targets": normal(6, 4, 1, 1),
        "weights": weights,
    }
    back = (0, 3, 1, 2) if data_format == "channels_last" else (0, 1, 2, 3)
    there = np.argsort(back)
    with imported(tmp_path / "keras", "model") as module:
        model = module.build_model()
        names = [tensor.name for tensor in model.inputs]
        x = {name: given[name].transpose(there) for name in names}
        out = model(x)
    cls, box = 2 * given["scores"], 3 * given["boxes"]
    losses = softmax_losses(cls, labels) + smooth_l1_losses(
        box, given["targets"], weights
    )
    hard_labels, hard_weights = annotate(regions, losses, labels, weights, 2, -1)
    check(np.asarray(out["hard_weights"]).transpose(back), hard_weights)
    each = softmax_losses(cls, hard_labels, -1)
    check(out["loss"], np.full(6, each.sum() / (hard_labels != -1).sum()))
