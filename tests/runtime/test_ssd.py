"""SSD's detection layers against plain Python, with all their options."""

import numpy as np
import pytest
import ssd_rules
from keras import ops

from caffe2k.runtime import bounding_boxes
from caffe2k.runtime.detection import DetectionOutput
from caffe2k.runtime.detection_evaluate import DetectionEvaluate
from caffe2k.runtime.multibox import MultiBoxLoss
from caffe2k.runtime.prior_box import PriorBox


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def assert_rows(made, expected):
    """Under JAX rows of -1 may follow."""
    made, count = numpy(made), expected.shape[2]
    if bounding_boxes.pads_rows():
        assert (made[:, :, count:] == -1).all()
        made = made[:, :, :count]
    np.testing.assert_allclose(made, expected, atol=1e-5)


def some_boxes(rng, number, spread=0.6):
    start = rng.uniform(-0.1, 0.8, (number, 2))
    return np.concatenate([start, start + rng.uniform(0.1, spread, (number, 2))], 1)


def some_priors(rng, number):
    variances = np.tile([0.1, 0.2, 0.3, 0.4], number)
    return np.stack([some_boxes(rng, number).ravel(), variances])[None].astype(
        "float32"
    )


PRIORS = {
    "one size": ([30.0], {}),
    "ratios": ([20.7, 33.3], {"aspect_ratio": [2.0, 0.5, 3.0]}),
    "no flip": ([20.0], {"aspect_ratio": [2.0, 0.5, 1.0], "flip": False}),
    "largest": (
        [20.5, 31.5],
        {"max_size": [41.9, 60.0], "aspect_ratio": [2.0], "clip": True},
    ),
    "fixed image": (
        [16.0],
        {"image_size": (48, 64), "step": (8.0, 9.5), "offset": 0.25},
    ),
    "variances": ([16.0], {"variance": [0.1, 0.1, 0.2, 0.2], "step": (7, 7)}),
    "one variance": ([16.0], {"variance": [0.3]}),
}


@pytest.mark.parametrize("case", PRIORS)
@pytest.mark.parametrize("form", ["channels_last", "channels_first"])
def test_prior_box(case, form):
    sizes, settings = PRIORS[case]
    expected = ssd_rules.prior_box((3, 5), (60, 81), sizes, settings)
    shapes = [(2, 3, 5, 4), (2, 60, 81, 3)]
    if form == "channels_first":
        shapes = [(2, 4, 3, 5), (2, 3, 60, 81)]
    layer = PriorBox(sizes, **settings, data_format=form)
    inputs = [np.zeros(shape, "float32") for shape in shapes]
    np.testing.assert_allclose(numpy(layer(inputs)), expected, atol=1e-6)
    copy = PriorBox.from_config(layer.get_config())
    np.testing.assert_array_equal(numpy(copy(inputs)), numpy(layer(inputs)))


OUTPUTS = {
    "defaults": {},
    "center size": {"code_type": "CENTER_SIZE", "nms_threshold": 0.45},
    "corner size": {"code_type": "CORNER_SIZE", "top_k": 5},
    "own locations": {"share_location": False, "code_type": "CENTER_SIZE"},
    "own corners": {"share_location": False, "background_label_id": 2},
    "no background": {"background_label_id": -1, "keep_top_k": 7},
    "without variance": {
        "code_type": "CENTER_SIZE",
        "variance_encoded_in_target": True,
    },
    "adaptive": {"nms_threshold": 0.9, "eta": 0.7, "top_k": 9},
    "threshold": {"confidence_threshold": 0.6, "keep_top_k": 3, "top_k": 4},
    "nothing": {"confidence_threshold": 2.0},
    "kept none": {"keep_top_k": 0},
    "looked at none": {"top_k": 0},
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_detection_output(case, rng):
    settings, classes, number = OUTPUTS[case], 4, 11
    each = 1 if settings.get("share_location", True) else classes
    inputs = [
        rng.normal(0, 0.6, (3, number * each * 4)).astype("float32"),
        rng.uniform(0, 1, (3, number * classes)).astype("float32"),
        some_priors(rng, number),
    ]
    expected = ssd_rules.detection_output(*inputs, classes, settings)
    layer = DetectionOutput(classes, **settings, data_format="channels_first")
    assert_rows(layer(inputs), expected)
    last = DetectionOutput(classes, **settings, data_format="channels_last")
    np.testing.assert_array_equal(
        numpy(last(inputs))[0, :, :, 0], numpy(layer(inputs))[0, 0]
    )


LOSSES = {
    "defaults": {},
    "center size": {"code_type": "CENTER_SIZE"},
    "corner size": {"code_type": "CORNER_SIZE", "loc_weight": 0.5},
    "variance in target": {
        "code_type": "CENTER_SIZE",
        "encode_variance_in_target": True,
    },
    "variance in corners": {"encode_variance_in_target": True, "loc_loss_type": "L2"},
    "logistic": {"conf_loss_type": "LOGISTIC"},
    "logistic background 1": {"conf_loss_type": "LOGISTIC", "background_label_id": 1},
    "bipartite": {"match_type": "BIPARTITE", "neg_pos_ratio": 1.5},
    "low thresholds": {"overlap_threshold": 0.2, "neg_overlap": 0.3},
    "not difficult": {"use_difficult_gt": False},
    "no mining": {"mining_type": "NONE"},
    "no mining logistic": {"mining_type": "NONE", "conf_loss_type": "LOGISTIC"},
    "no mining background 2": {"mining_type": "NONE", "background_label_id": 2},
    "no mining logistic background": {
        "mining_type": "NONE",
        "conf_loss_type": "LOGISTIC",
        "background_label_id": 2,
    },
    "own locations": {"mining_type": "NONE", "share_location": False},
    "own predictions": {
        "mining_type": "NONE",
        "share_location": False,
        "use_prior_for_matching": False,
        "overlap_threshold": 0.2,
    },
    "own predictions logistic": {
        "mining_type": "NONE",
        "share_location": False,
        "use_prior_for_matching": False,
        "conf_loss_type": "LOGISTIC",
        "code_type": "CENTER_SIZE",
    },
    "predictions": {"use_prior_for_matching": False, "code_type": "CENTER_SIZE"},
    "hard examples": {"mining_type": "HARD_EXAMPLE", "sample_size": 5},
    "all examples": {"mining_type": "HARD_EXAMPLE"},
    "inside": {"bp_inside": True, "mining_type": "NONE"},
    "inside predictions": {"bp_inside": True, "use_prior_for_matching": False},
    "border": {"ignore_cross_boundary_bbox": True},
    "border mined": {
        "ignore_cross_boundary_bbox": True,
        "mining_type": "HARD_EXAMPLE",
        "sample_size": 7,
    },
    "apart": {"nms_threshold": 0.5, "nms_top_k": 6},
    "apart predictions": {
        "nms_threshold": 0.3,
        "nms_top_k": -1,
        "mining_type": "HARD_EXAMPLE",
        "sample_size": 6,
    },
    "apart priors": {"nms_threshold": 0.4, "nms_top_k": 8, "use_prior_for_nms": True},
    "apart none": {"nms_threshold": 0.4},
    "full": {"normalization": "FULL"},
    "batch size": {"normalization": "BATCH_SIZE"},
    "none": {"normalization": "NONE"},
    "locations only": {"with_confidences": False},
    "confidences only": {"with_locations": False},
}

AGNOSTIC = {
    "softmax": {"map_object_to_agnostic": True},
    "logistic": {
        "map_object_to_agnostic": True,
        "mining_type": "NONE",
        "conf_loss_type": "LOGISTIC",
    },
}


def some_truth(rng, classes, background):
    """Three true boxes in image 0, two in image 2 and one in image 3, mixed."""
    images = np.array([0, 2, 0, -1, 3, 2, 0])
    labels = rng.choice([c for c in range(classes) if c != background], len(images))
    boxes = some_boxes(rng, len(images))
    difficult = rng.integers(0, 2, len(images))
    truth = np.concatenate(
        [
            images[:, None],
            labels[:, None],
            images[:, None] * 0,
            boxes,
            difficult[:, None],
        ],
        axis=1,
    )
    return truth.astype("float32")[None, None]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def check_loss(rng, vjp):
    return lambda *case: assert_loss(rng, vjp, *case)


def assert_loss(rng, vjp, classes, settings, truth):
    number = 13
    each = 1 if settings.get("share_location", True) else classes
    locations = rng.normal(0, 0.7, (4, number * each * 4)).astype("float32")
    confidences = rng.normal(0, 2, (4, number * classes)).astype("float32")
    priors = some_priors(rng, number)
    expected = ssd_rules.MultiBox(
        locations, confidences, priors, truth, classes, settings
    )
    layer = MultiBoxLoss(classes, loss_weight=2.0, **settings)
    layer = MultiBoxLoss.from_config(layer.get_config())
    value, slopes = vjp(
        lambda a, b: layer([a, b, priors, truth]), [locations, confidences]
    )
    np.testing.assert_allclose(numpy(value), [expected.loss] * 4, rtol=2e-5)
    layer([locations, confidences, priors, truth])
    np.testing.assert_allclose(numpy(layer.losses[-1]), 2 * expected.loss, rtol=2e-5)
    for slope, wanted in zip(
        slopes, [expected.d_locations, expected.d_confidences], strict=True
    ):
        np.testing.assert_allclose(slope / 4, wanted, atol=2e-5)


@pytest.mark.parametrize("case", LOSSES)
def test_multibox_loss(case, rng, check_loss):
    settings = LOSSES[case]
    background = settings.get("background_label_id", 0)
    check_loss(4, settings, some_truth(rng, 4, background))


@pytest.mark.parametrize("case", AGNOSTIC)
def test_multibox_loss_of_one_class(case, rng, check_loss):
    check_loss(2, AGNOSTIC[case], some_truth(rng, 2, 0))


@pytest.mark.parametrize("mining", ["NONE", "MAX_NEGATIVE", "HARD_EXAMPLE"])
def test_multibox_loss_without_true_boxes(mining, check_loss):
    truth = np.full((1, 1, 1, 8), -1, "float32")
    check_loss(3, {"mining_type": mining}, truth)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="must be one of"):
        MultiBoxLoss(3, code_type="CENTER")
    with pytest.raises(ValueError, match="share_location"):
        MultiBoxLoss(3, share_location=False)
    with pytest.raises(ValueError, match="must be one of"):
        DetectionOutput(3, code_type="CENTER")


EVALUATIONS = {
    "defaults": {},
    "low threshold": {"overlap_threshold": 0.1},
    "without difficult": {"overlap_threshold": 0.2, "evaluate_difficult_gt": False},
    "no background": {"background_label_id": -1, "overlap_threshold": 0.2},
    "pixels": {"image_sizes": [(30, 40), (50, 20), (9, 9)], "overlap_threshold": 0.2},
    "padded": {
        "image_sizes": [(30, 40), (50, 20), (9, 9)],
        "resize": {
            "resize_mode": "FIT_LARGE_SIZE_AND_PAD",
            "height": 30,
            "width": 30,
        },
        "overlap_threshold": 0.2,
    },
    "scaled": {
        "image_sizes": [(30, 40), (50, 20)],
        "resize": {
            "resize_mode": "FIT_SMALL_SIZE",
            "height": 30,
            "width": 30,
            "height_scale": 25,
            "width_scale": 35,
        },
        "overlap_threshold": 0.2,
    },
    "warped": {
        "image_sizes": [(30, 40)],
        "resize": {"height": 30, "width": 30},
        "overlap_threshold": 0.3,
    },
}


@pytest.mark.parametrize("case", EVALUATIONS)
def test_detection_evaluate(case, rng):
    settings, state = EVALUATIONS[case], [0]
    layer = DetectionEvaluate(4, **settings, data_format="channels_first")
    for _ in range(3):
        truth = some_truth(rng, 4, settings.get("background_label_id", 0))
        number = 17
        images = rng.integers(0, 4, number)
        rows = np.concatenate(
            [
                images[:, None],
                rng.integers(1, 4, (number, 1)),
                rng.uniform(0, 1, (number, 1)),
                some_boxes(rng, number),
            ],
            axis=1,
        )
        # Some lie where a true box is.
        rows[:3, 3:] = truth[0, 0, [0, 2, 6], 3:7] + rng.normal(0, 0.01, (3, 4))
        rows[:3, :2] = truth[0, 0, [0, 2, 6], :2]
        rows[3] = [1, *[-1] * 6]
        rows[4, 0] = -1
        rows = rows.astype("float32")[None, None]
        expected = ssd_rules.detection_evaluate(rows, truth, 4, settings, state)
        assert_rows(layer([rows, truth]), expected)
