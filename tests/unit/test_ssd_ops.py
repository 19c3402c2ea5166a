"""SSD's layers as ops: shapes as Caffe has them, the calls, and what is refused."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.ir.net import Blob, Phase
from tests.unit import ssd_nets
from tests.unit.nets import body, entry, found, layer, translated

HEAD = (
    entry("loc", 2, 80)
    + entry("conf", 2, 60)
    + entry("prior", 1, 2, 80)
    + entry("truth", 1, 1, 4, 8)
)
IMAGE = entry("x", 2, 8, 5, 6) + entry("image", 2, 3, 60, 80)


def prior_box(param: str) -> str:
    return IMAGE + layer(
        "op", "PriorBox", "x image", more=f"prior_box_param {{ {param} }}"
    )


def detection_output(param: str) -> str:
    param = f"detection_output_param {{ {param} }}"
    return HEAD + layer("op", "DetectionOutput", "loc conf prior", more=param)


def multibox_loss(param: str, more: str = "") -> str:
    param = f"multibox_loss_param {{ {param} }} {more}"
    return HEAD + layer("op", "MultiBoxLoss", "loc conf prior truth", more=param)


def detection_evaluate(param: str) -> str:
    param = f"detection_evaluate_param {{ {param} }}"
    rows = entry("found", 1, 1, 9, 7) + entry("truth", 1, 1, 4, 8)
    return rows + layer("op", "DetectionEvaluate", "found truth", more=param)


def annotated(transform: str = "", more: str = "", batch: int = 4) -> str:
    return layer(
        "data",
        "AnnotatedData",
        top="data label",
        more=f"transform_param {{ {transform} }} "
        f'data_param {{ source: "lmdb" batch_size: {batch} backend: LMDB }} {more}',
    ) + layer("op", "Silence", "label", " ", "")


@pytest.mark.parametrize("form", ["channels_last", "channels_first"])
def test_ssd300_has_the_shapes_that_caffe_gives_it(form: str) -> None:
    net = translated(ssd_nets.deploy(), data_format=form)
    shapes = net.phases[Phase.TEST].shapes
    for name, cells in zip(ssd_nets.SOURCES, ssd_nets.CELLS, strict=True):
        assert shapes[Blob(name)][2:] == (cells, cells)
    priors, classes = ssd_nets.PRIORS, 21
    assert shapes[Blob("mbox_loc")] == (1, 4 * priors)
    assert shapes[Blob("mbox_conf")] == (1, classes * priors)
    assert shapes[Blob("mbox_priorbox")] == (1, 2, 4 * priors)
    assert shapes[Blob("detection_out")] == (1, 1, 1, 7)
    transposes = sum(
        step.layer.call.target.name in ("Permute", "Transpose")
        for step in net.whole.program.steps
    )
    # conv9_2 has one cell, whose values lie alike in both orders.
    assert transposes == (0 if form == "channels_last" else 10)


def test_ssd300_train_reads_its_label() -> None:
    net = translated(
        ssd_nets.train(ssd_nets.annotated()),
        phase=Phase.TRAIN,
        input_shapes={"data": (2, 3, 300, 300)},
    )
    inputs = {i.name: i.shape for i in net.whole.program.inputs}
    assert inputs == {"data": (2, 300, 300, 3), "label": (1, None, 8, 1)}
    assert [o.key for o in net.whole.program.outputs] == ["mbox_loss"]
    assert net.net.shapes[Blob("mbox_loss")] == ()


def test_label_without_data_is_resized_or_cropped() -> None:
    resize = "resize_param { height: 30 width: 40 }"
    for transform, size in ((resize, (30, 40)), (f"{resize} crop_size: 20", (20, 20))):
        net = translated(annotated(transform), Diagnostics(), phase=Phase.TRAIN)
        assert net.net.shapes[Blob("data")] == (4, 3, *size)
        assert net.net.shapes[Blob("label")] == (1, 1, None, 8)


CALLS = [
    (
        prior_box("min_size: 20 aspect_ratio: 2 flip: false clip: true offset: 0.25"),
        "PriorBox([20], aspect_ratio=[2], flip=False, clip=True, offset=0.25",
    ),
    (
        prior_box("min_size: 20.5 max_size: 30 img_h: 300 img_w: 200 step: 8"),
        "PriorBox([20.5], max_size=[30], image_size=(300, 200), step=(8, 8)",
    ),
    (
        prior_box("min_size: 20 img_size: 300 step_h: 8 step_w: 9.5 variance: 0.2"),
        "PriorBox([20], variance=[0.2], image_size=(300, 300), step=(8, 9.5)",
    ),
    (
        detection_output(
            "num_classes: 3 code_type: CORNER_SIZE background_label_id: -1 "
            "variance_encoded_in_target: true nms_param { eta: 0.9 }"
        ),
        'code_type="CORNER_SIZE", variance_encoded_in_target=True, eta=0.9',
    ),
    (
        multibox_loss("num_classes: 3 nms_param { top_k: 5 } use_prior_for_nms: true"),
        "MultiBoxLoss(3, use_prior_for_nms=True, nms_threshold=0.3, nms_top_k=5",
    ),
    (
        multibox_loss("num_classes: 3 nms_param { nms_threshold: 0 top_k: 5 }"),
        'MultiBoxLoss(3, name="op"',
    ),
    (
        multibox_loss(
            "num_classes: 3 do_neg_mining: false mining_type: NONE",
            "propagate_down: false propagate_down: true propagate_down: false "
            "propagate_down: false loss_weight: 2 loss_param { normalization: FULL }",
        ),
        'normalization="FULL", with_locations=False, loss_weight=2.0',
    ),
    (
        detection_evaluate(
            "num_classes: 3 background_label_id: 4294967295 "
            "resize_param { height: 3 width: 3 }"
        ),
        'DetectionEvaluate(3, background_label_id=-1, name="op"',
    ),
]


@pytest.mark.parametrize(("text", "call"), CALLS)
def test_calls(text: str, call: str) -> None:
    made = "".join(body(text, phase=Phase.TEST))
    assert call.replace(" ", "") in made.replace(" ", "")


REFUSED = [
    (prior_box("aspect_ratio: 2"), "prior-box"),
    (prior_box("min_size: -1"), "prior-box"),
    (prior_box("min_size: 20 aspect_ratio: 0"), "prior-box"),
    (prior_box("min_size: 20 min_size: 30 max_size: 40"), "prior-box"),
    (prior_box("min_size: 20 variance: 0.1 variance: 0.1"), "prior-box"),
    (prior_box("min_size: 20 img_size: 3 img_h: 3"), "prior-box"),
    (prior_box("min_size: 20 img_h: 3"), "prior-box"),
    (prior_box("min_size: 20 step: 0"), "prior-box"),
    (detection_output(""), "detection-settings"),
    (detection_output("num_classes: 3 nms_param { eta: 0 }"), "detection-settings"),
    (
        detection_output("num_classes: 3 nms_param { nms_threshold: -1 }"),
        "detection-settings",
    ),
    (detection_output("num_classes: 3 share_location: false"), "bottom-shapes"),
    (detection_output("num_classes: 4"), "bottom-shapes"),
    (multibox_loss("num_classes: 3 do_neg_mining: false"), "detection-settings"),
    (
        multibox_loss("num_classes: 3 mining_type: HARD_EXAMPLE sample_size: 0"),
        "detection-settings",
    ),
    (multibox_loss("num_classes: 3 background_label_id: 3"), "detection-settings"),
    (
        multibox_loss("num_classes: 3 map_object_to_agnostic: true"),
        "detection-settings",
    ),
    (
        multibox_loss("num_classes: 3", "loss_param { normalization: PRE_FIXED }"),
        "normalization",
    ),
    (detection_evaluate("num_classes: 3 overlap_threshold: 0"), "detection-settings"),
    (detection_evaluate("num_classes: 3 background_label_id: 3"), "detection-settings"),
    (
        entry("found", 1, 1, 9, 6)
        + entry("truth", 1, 1, 4, 8)
        + layer(
            "op",
            "DetectionEvaluate",
            "found truth",
            more="detection_evaluate_param { num_classes: 3 }",
        ),
        "bottom-shapes",
    ),
    (annotated("resize_param { height: 300 }"), "annotated-data"),
    (annotated("crop_h: 30"), "annotated-data"),
    (annotated("crop_size: 30 expand_param { max_expand_ratio: 1 }"), "annotated-data"),
    (
        annotated('mean_file: "m" crop_size: 3 expand_param { max_expand_ratio: 2 }'),
        "annotated-data",
    ),
    (annotated("crop_size: 3 noise_param { convert_to_lab: true }"), "annotated-data"),
    (annotated("crop_size: 3 noise_param { saltpepper: true }"), "annotated-data"),
    (
        annotated("crop_size: 3 distort_param { contrast_prob: 1 contrast_lower: 2 }"),
        "annotated-data",
    ),
    (
        annotated("crop_size: 3 distort_param { hue_delta: -1 }"),
        "annotated-data",
    ),
    (
        annotated(
            "resize_param { resize_mode: FIT_SMALL_SIZE height: 3 width: 3 }", batch=1
        ),
        "annotated-data",
    ),
]


@pytest.mark.parametrize(("text", "code"), REFUSED)
def test_refused(text: str, code: str) -> None:
    diagnostics = Diagnostics()
    with pytest.raises(TranslationError):
        translated(text, diagnostics, phase=Phase.TRAIN)
    assert code in [found_code for found_code, _ in found(diagnostics)]
