"""Nets of the shape of SSD300 on VGG16, as its scripts write them."""

from __future__ import annotations

from tests.unit.nets import entry, layer

SOURCES = {
    # name -> minimum, maximum, ratios, step
    "conv4_3_norm": (30, 60, (2,), 8),
    "fc7": (60, 111, (2, 3), 16),
    "conv6_2": (111, 162, (2, 3), 32),
    "conv7_2": (162, 213, (2, 3), 64),
    "conv8_2": (213, 264, (2,), 100),
    "conv9_2": (264, 315, (2,), 300),
}
CELLS = (38, 19, 10, 5, 3, 1)
PRIORS = 8732


def deploy(classes: int = 21, width: int = 64) -> str:
    """From an image to detections; `width` is that of the first convolution."""
    image = entry("data", 1, 3, 300, 300)
    return image + _body(classes, width) + _softmax(classes) + _output(classes)


def train(data: str, classes: int = 21, width: int = 64) -> str:
    """With the data layer `data`, which brings `data` and `label`."""
    loss = layer(
        "mbox_loss",
        "MultiBoxLoss",
        "mbox_loc mbox_conf mbox_priorbox label",
        more="include { phase: TRAIN } propagate_down: true propagate_down: true "
        "propagate_down: false propagate_down: false loss_param { normalization: VALID } "
        f"multibox_loss_param {{ num_classes: {classes} overlap_threshold: 0.5 "
        "neg_pos_ratio: 3 neg_overlap: 0.5 code_type: CENTER_SIZE "
        "mining_type: MAX_NEGATIVE }",
    )
    return data + _body(classes, width) + loss


def annotated(source: str = "lmdb", batch: int = 2) -> str:
    """An AnnotatedData layer of 300 x 300 images."""
    return layer(
        "data",
        "AnnotatedData",
        top="data label",
        more="transform_param { mean_value: 104 mean_value: 117 mean_value: 123 "
        "resize_param { prob: 1 resize_mode: WARP height: 300 width: 300 } } "
        f'data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }}',
    )


def _conv(name: str, bottom: str, outputs: int, more: str) -> str:
    param = f"convolution_param {{ num_output: {outputs} {more} }}"
    relu = layer(f"{name}_relu", "ReLU", name, name)
    return layer(name, "Convolution", bottom, more=param) + relu


def _body(classes: int, width: int) -> str:
    text, bottom = "", "data"
    for block, (convs, times) in enumerate([(2, 1), (2, 2), (3, 4), (3, 8), (3, 8)], 1):
        for i in range(1, convs + 1):
            name = f"conv{block}_{i}"
            text += _conv(name, bottom, width * times, "kernel_size: 3 pad: 1")
            bottom = name
        pool = "kernel_size: 3 stride: 1 pad: 1" if block == 5 else "kernel_size: 2"
        stride = "" if block == 5 else "stride: 2"
        text += layer(
            f"pool{block}",
            "Pooling",
            bottom,
            more=f"pooling_param {{ pool: MAX {pool} {stride} }}",
        )
        bottom = f"pool{block}"
    wide = width * 16
    text += _conv("fc6", "pool5", wide, "kernel_size: 3 pad: 6 dilation: 6")
    text += _conv("fc7", "fc6", wide, "kernel_size: 1")
    bottom = "fc7"
    for block, (times, more) in enumerate(
        [(8, "pad: 1 stride: 2"), (4, "pad: 1 stride: 2"), (4, ""), (4, "")], 6
    ):
        text += _conv(f"conv{block}_1", bottom, width * times // 2, "kernel_size: 1")
        bottom = f"conv{block}_2"
        text += _conv(bottom, f"conv{block}_1", width * times, f"kernel_size: 3 {more}")
    text += layer(
        "conv4_3_norm",
        "Normalize",
        "conv4_3",
        more="norm_param { across_spatial: false channel_shared: false "
        'scale_filler { type: "constant" value: 20 } }',
    )
    return text + _heads(classes)


def _heads(classes: int) -> str:
    text = ""
    for name, (least, most, ratios, step) in SOURCES.items():
        boxes = 2 + 2 * len(ratios)
        for kind, number in (("loc", 4 * boxes), ("conf", classes * boxes)):
            head = f"{name}_mbox_{kind}"
            param = (
                f"convolution_param {{ num_output: {number} kernel_size: 3 pad: 1 }}"
            )
            order = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
            text += layer(head, "Convolution", name, more=param)
            text += layer(f"{head}_perm", "Permute", head, more=order)
            text += layer(f"{head}_flat", "Flatten", f"{head}_perm")
        param = " ".join(f"aspect_ratio: {ratio}" for ratio in ratios)
        text += layer(
            f"{name}_mbox_priorbox",
            "PriorBox",
            f"{name} data",
            more=f"prior_box_param {{ min_size: {least} max_size: {most} {param} "
            "flip: true clip: false variance: 0.1 variance: 0.1 variance: 0.2 "
            f"variance: 0.2 step: {step} offset: 0.5 }}",
        )
    for kind, suffix, axis in (
        ("loc", "_flat", 1),
        ("conf", "_flat", 1),
        ("priorbox", "", 2),
    ):
        parts = " ".join(f"{name}_mbox_{kind}{suffix}" for name in SOURCES)
        param = f"concat_param {{ axis: {axis} }}"
        text += layer(f"mbox_{kind}", "Concat", parts, more=param)
    return text


def _softmax(classes: int) -> str:
    dims = f"dim: 0 dim: -1 dim: {classes}"
    return (
        layer(
            "mbox_conf_reshape",
            "Reshape",
            "mbox_conf",
            more=f"reshape_param {{ shape {{ {dims} }} }}",
        )
        + layer(
            "mbox_conf_softmax",
            "Softmax",
            "mbox_conf_reshape",
            more="softmax_param { axis: 2 }",
        )
        + layer("mbox_conf_flatten", "Flatten", "mbox_conf_softmax")
    )


def _output(classes: int) -> str:
    return layer(
        "detection_out",
        "DetectionOutput",
        "mbox_loc mbox_conf_flatten mbox_priorbox",
        more=f"detection_output_param {{ num_classes: {classes} "
        "nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE "
        "keep_top_k: 200 confidence_threshold: 0.01 }",
    )
