"""Old files in today's form: the rules of util/upgrade_proto.cpp, and what Caffe built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caffe2k.diagnostics import Diagnostics, Severity, SourceFile
from caffe2k.prototxt import read, read_net, to_prototxt, upgrade
from caffe2k.schema.layer_types import V0_LAYER_TYPES, V1_LAYER_TYPES
from caffe2k.schema.message import Entry, Message, message_type

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus, ../shared/corpus, is not here"
)


def upgraded(text: str) -> tuple[str, list[str]]:
    """The current form of a text, and what was said of it."""
    diagnostics = Diagnostics()
    message = read(SourceFile("test.prototxt", text), diagnostics)
    assert not list(diagnostics)
    message = upgrade(message, diagnostics)
    found = []
    for d in diagnostics:
        assert d.span is not None
        help = f" | {d.help}" if d.help else ""
        kind = d.severity.value[0].upper()
        found.append(
            f"{kind} {d.span.line}:{d.span.column} {d.code}: {d.message}{help}"
        )
    return to_prototxt(message), found


def becomes(old: str, new: str) -> None:
    """Checks that a text upgrades to another, without a word."""
    text, found = upgraded(old)
    assert found == []
    assert text == new


V0 = """\
name: "v0"
# the images
layers {
  layer {
    # from a database
    name: "data"
    type: "data"
    source: "train_leveldb"
    meanfile: "mean.binaryproto"
    batchsize: 64
    cropsize: 227
    mirror: true
    scale: 0.5
    rand_skip: 3
  }
  top: "data"
  top: "label"
}
layers {
  layer { name: "pad1" type: "padding" pad: 2 }
  bottom: "data"
  top: "pad1"
}
layers {
  layer {
    name: "conv1"
    type: "conv"
    num_output: 96
    group: 2
    kernelsize: 11
    stride: 4
    biasterm: false
    weight_filler { type: "gaussian" std: 0.01 }
    bias_filler { type: "constant" value: 0.1 }
    blobs_lr: 1.  # weights
    blobs_lr: 2.
    weight_decay: 1.
    weight_decay: 0.
  }
  bottom: "pad1"
  top: "conv1"
}
layers {
  layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 pad: 1 }
  bottom: "conv1"
  top: "pool1"
}
layers {
  layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.2 k: 2 }
  bottom: "pool1"
  top: "norm1"
}
layers {
  layer { name: "drop1" type: "dropout" dropout_ratio: 0.3 }
  bottom: "norm1"
  top: "norm1"
}
layers {
  layer { name: "cat" type: "concat" concat_dim: 2 }
  bottom: "norm1"
  bottom: "norm1"
  top: "cat"
}
layers {
  layer { name: "ip" type: "innerproduct" num_output: 10 }
  bottom: "cat"
  top: "ip"
}
"""


def test_v0() -> None:
    becomes(
        V0,
        """\
name: "v0"
# the images
layer {
  # from a database
  name: "data"
  type: "Data"
  data_param {
    source: "train_leveldb"
    batch_size: 64
    rand_skip: 3
  }
  transform_param {
    mean_file: "mean.binaryproto"
    crop_size: 227
    mirror: true
    scale: 0.5
  }
  top: "data"
  top: "label"
}
layer {
  name: "conv1"
  type: "Convolution"
  convolution_param {
    num_output: 96
    group: 2
    kernel_size: 11
    stride: 4
    bias_term: false
    weight_filler {
      type: "gaussian"
      std: 0.01
    }
    bias_filler {
      type: "constant"
      value: 0.1
    }
    pad: 2
  }
  param {
    lr_mult: 1  # weights
    decay_mult: 1
  }
  param {
    lr_mult: 2
    decay_mult: 0
  }
  bottom: "data"
  top: "conv1"
}
layer {
  name: "pool1"
  type: "Pooling"
  pooling_param {
    pool: AVE
    kernel_size: 3
    stride: 2
    pad: 1
  }
  bottom: "conv1"
  top: "pool1"
}
layer {
  name: "norm1"
  type: "LRN"
  lrn_param {
    local_size: 3
    alpha: 0.1
    beta: 0.2
    k: 2
  }
  bottom: "pool1"
  top: "norm1"
}
layer {
  name: "drop1"
  type: "Dropout"
  dropout_param {
    dropout_ratio: 0.3
  }
  bottom: "norm1"
  top: "norm1"
}
layer {
  name: "cat"
  type: "Concat"
  concat_param {
    axis: 2
  }
  bottom: "norm1"
  bottom: "norm1"
  top: "cat"
}
layer {
  name: "ip"
  type: "InnerProduct"
  inner_product_param {
    num_output: 10
  }
  bottom: "cat"
  top: "ip"
}
""",
    )


@pytest.mark.parametrize(
    ("v0_type", "settings", "expected"),
    [
        (
            "images",
            ('source: "a" batchsize: 2 rand_skip: 3 shuffle_images: true '
            "new_height: 4 new_width: 5"),
            ('image_data_param { source: "a" batch_size: 2 rand_skip: 3 shuffle: true '
            "new_height: 4 new_width: 5 }"),
        ),
        ("hdf5_data", 'source: "a" batchsize: 2', 'hdf5_data_param { source: "a" batch_size: 2 }'),
        (
            "window_data",
            ('source: "a" batchsize: 2 det_fg_threshold: 0.1 det_bg_threshold: 0.2 '
            'det_fg_fraction: 0.3 det_context_pad: 4 det_crop_mode: "square"'),
            ('window_data_param { source: "a" batch_size: 2 fg_threshold: 0.1 '
            'bg_threshold: 0.2 fg_fraction: 0.3 context_pad: 4 crop_mode: "square" }'),
        ),
        ("infogain_loss", 'source: "a"', 'infogain_loss_param { source: "a" }'),
        (
            "hdf5_output",
            'hdf5_output_param { file_name: "a" }',
            'hdf5_output_param { file_name: "a" }',
        ),
        ("relu", "scale: 2", "transform_param { scale: 2 }"),
    ],
)  # fmt: skip
def test_v0_settings_by_type(v0_type: str, settings: str, expected: str) -> None:
    text, found = upgraded(f'layers {{ layer {{ type: "{v0_type}" {settings} }} }}')
    assert found == []
    new_type = V1_LAYER_TYPES[V0_LAYER_TYPES[v0_type]]
    assert text == upgraded(f'layer {{ type: "{new_type}" {expected} }}')[0]


def test_v0_padding_goes_to_pooling_and_replaces_its_own() -> None:
    text, found = upgraded(
        'input: "x" input_dim: [1, 2, 3, 4]\n'
        'layers { layer { type: "padding" pad: 3 } bottom: "x" top: "p" }\n'
        'layers { layer { type: "pool" pad: 1 } bottom: "p" top: "y" }\n'
    )
    assert found == []
    assert "pad: 3" in text
    assert "pad: 1" not in text
    assert 'bottom: "x"' in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'layers { layer { type: "relu" num_output: 5 } }',
            (
                "W 1:31 ignored-field: Caffe ignores `num_output` of a `relu` layer | "
                "remove it"
            ),
        ),
        (
            'layers { layer { type: "conv" new_num: 5 } }',
            "W 1:31 ignored-field: Caffe ignores `new_num` of a `conv` layer | remove it",
        ),
        (
            'layers { layer { type: "relu" } include { phase: TRAIN } }',
            (
                "W 1:33 ignored-field: Caffe ignores `include` beside a V0 `layer` | "
                "remove it"
            ),
        ),
        (
            'debug_info: true layers { layer { type: "relu" } }',
            (
                "W 1:1 ignored-field: Caffe ignores `debug_info` of a net with V0 layers | "
                "remove it"
            ),
        ),
        (
            'layers { layer { type: "convolution" } }',
            "E 1:18 unknown-layer-type: a V0 layer can't be of type `convolution` | it is one of accuracy, bnll, concat, conv, data, dropout, euclidean_loss, flatten, hdf5_data, hdf5_output, im2col, images, infogain_loss, innerproduct, lrn, multinomial_logistic_loss, pool, relu, sigmoid, softmax, softmax_loss, split, tanh, window_data",
        ),
        (
            'layers { layer { type: "pooling" } }',
            (
                "E 1:18 unknown-layer-type: a V0 layer can't be of type `pooling` | "
                "did you mean `pool`?"
            ),
        ),
        (
            'layers { layer { type: "relu" } bottom: "x" }',
            (
                "E 1:33 unknown-bottom: layer `` reads `x`, which no layer before it writes"
                " | the layer that writes it must stand above this one"
            ),
        ),
        (
            'layers { layer { type: "relu" } } layers { type: RELU }',
            (
                "E 1:35 mixed-format: this `layers` is of another format than the V0 layers "
                "of the net | write all layers in one format"
            ),
        ),
        (
            'layers { layer { type: "relu" } } layer { type: "ReLU" }',
            (
                "E 1:35 mixed-format: this `layer` is of another format than the V0 layers "
                "of the net | write all layers in one format"
            ),
        ),
        (
            (
                'layers { layer { type: "data" } top: "x" }\n'
                'layers { layer { type: "padding" } bottom: "x" top: "p" }\n'
                'layers { layer { type: "relu" } bottom: "p" }'
            ),
            (
                "E 3:33 padding-layer: a padding layer has one bottom and one top, "
                "for one `conv` or `pool` | set `pad` in the layer that needs it"
            ),
        ),
    ],
)
def test_what_caffe_loses_of_v0(text: str, expected: str) -> None:
    assert upgraded(text)[1] == [expected]


def test_v1() -> None:
    becomes(
        """\
layers {
  bottom: "a"
  top: "b"
  name: "shared"
  type: CONVOLUTION  # first
  param: "w"
  blob_share_mode: PERMISSIVE
  blobs_lr: 1
  blobs_lr: 2
  blobs_lr: 0
  weight_decay: 3
  loss_weight: 0.5
  include { phase: TRAIN }
  exclude { min_level: 1 }
  convolution_param { num_output: 2 }
}
layers { name: "none" type: NONE }
""",
        """\
layer {
  bottom: "a"
  top: "b"
  name: "shared"
  type: "Convolution"  # first
  param {
    name: "w"
    share_mode: PERMISSIVE
    lr_mult: 1
    decay_mult: 3
  }
  param {
    lr_mult: 2
  }
  param {
    lr_mult: 0
  }
  loss_weight: 0.5
  include {
    phase: TRAIN
  }
  exclude {
    min_level: 1
  }
  convolution_param {
    num_output: 2
  }
}
layer {
  name: "none"
  type: ""
}
""",
    )


def test_every_v1_type_has_a_name_today() -> None:
    assert (
        V1_LAYER_TYPES.keys()
        == message_type("V1LayerParameter").fields["type"].enum.keys()
    )
    assert set(V0_LAYER_TYPES.values()) < V1_LAYER_TYPES.keys()


def test_every_v1_setting_has_a_place_today() -> None:
    old = message_type("V1LayerParameter").fields
    new = message_type("LayerParameter").fields
    moved = {"type", "param", "blob_share_mode", "blobs_lr", "weight_decay", "layer"}
    for name, field in old.items():
        if name not in moved:
            assert new[name].kind == field.kind
            assert new[name].message is field.message
            assert new[name].repeated == field.repeated


@pytest.mark.parametrize(
    ("v1_type", "owner", "new_type"),
    [
        ("DATA", "data_param", "Data"),
        ("IMAGE_DATA", "image_data_param", "ImageData"),
    ],
)
def test_v1_data_transformations(v1_type: str, owner: str, new_type: str) -> None:
    becomes(
        f"layers {{ type: {v1_type} transform_param {{ scale: 9 mean_value: 1 }}\n"
        f'{owner} {{ source: "s" scale: 0.5 crop_size: 3 mirror: true }} }}',
        f"""\
layer {{
  type: "{new_type}"
  transform_param {{
    scale: 0.5
    mean_value: 1
    crop_size: 3
    mirror: true
  }}
  {owner} {{
    source: "s"
  }}
}}
""",
    )


def test_v1_window_data_loses_its_scale() -> None:
    """Caffe moves it to where WindowData does not look for it."""
    text, found = upgraded(
        "layers { type: WINDOW_DATA window_data_param { scale: 0.5 mirror: true } }"
    )
    assert "scale" not in text
    assert "mirror" in text
    (warning,) = found
    assert "ignored-field: Caffe ignores `scale` in the `transform_param`" in warning


@pytest.mark.parametrize(
    ("layer", "ignored"),
    [
        ("MemoryData", "transform_param { crop_size: 3 }"),
        ("DummyData", "transform_param { crop_size: 3 }"),
        ("ImageData", "transform_param { force_color: true }"),
        ("WindowData", "transform_param { force_gray: true }"),
    ],
)
def test_transformations_that_a_layer_does_not_look_at(
    layer: str, ignored: str
) -> None:
    text, found = upgraded(f'layer {{ type: "{layer}" {ignored} }}')
    assert ignored.split()[2] not in text
    (warning,) = found
    assert f"of {layer} layers" in warning


@pytest.mark.parametrize(
    ("owner", "field"),
    [
        ("data_param", "scale: 2"),
        ("data_param", 'mean_file: "m"'),
        ("image_data_param", "crop_size: 2"),
        ("window_data_param", "mirror: true"),
    ],
)
def test_transformations_that_caffe_ignores_today(owner: str, field: str) -> None:
    text, found = upgraded(f"layer {{ {owner} {{ {field} }} }}")
    name = field.split(":")[0]
    column = len(f"layer {{ {owner} {{ ") + 1
    assert found == [
        (
            f"W 1:{column} ignored-field: Caffe ignores `{name}` in the `{owner}` of a `layer`"
            f" | it takes effect in `transform_param {{ {name}: ... }}`"
        )
    ]
    assert name not in text


def test_window_data_reads_its_own_scale() -> None:
    text, found = upgraded(
        'layer { type: "WindowData" window_data_param { scale: 2 } }'
    )
    assert found == []
    assert "scale: 2" in text


def test_both_layer_formats_are_refused() -> None:
    _, found = upgraded('layer { type: "ReLU" } layers { type: RELU }')
    assert found == [
        (
            "E 1:1 mixed-format: the net has both `layers` and `layer` | "
            "write all layers as `layer`, with a type in quotes"
        )
    ]


def test_inputs_become_a_layer() -> None:
    becomes(
        """\
name: "net"
# the images
input: "data"  # RGB
input_dim: 1
input_dim: 3
input_dim: 8
input_dim: 9
input: "label"
input_dim: [1, 1, 1, 1]
layer { name: "last" }
""",
        """\
name: "net"
# the images
layer {  # RGB
  name: "input"
  type: "Input"
  top: "data"
  top: "label"
  input_param {
    shape {
      dim: 1
      dim: 3
      dim: 8
      dim: 9
    }
    shape {
      dim: 1
      dim: 1
      dim: 1
      dim: 1
    }
  }
}
layer {
  name: "last"
}
""",
    )


def test_input_shape_wins_over_input_dim() -> None:
    text, found = upgraded('input: "a" input_shape { dim: 7 } input_dim: 1')
    assert found == []
    assert "dim: 7" in text
    assert "dim: 1" not in text


def test_inputs_come_first_also_in_old_nets() -> None:
    text, found = upgraded(
        'layers { layer { name: "ip" type: "innerproduct" } bottom: "a" }\n'
        'input: "a" input_dim: [1, 2, 3, 4]'
    )
    assert found == []
    assert text.index('"Input"') < text.index('"InnerProduct"')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'input: "a"',
            (
                "W 1:1 input-without-shape: Caffe drops the input `a`, which has no shape | "
                "give it with `input_shape` or in an Input layer"
            ),
        ),
        (
            'input: ["a", "b"] input_dim: [1, 2, 3, 4]',
            (
                "E 1:19 input-shape: the net has 2 `input`, but 4 `input_dim` | "
                "write four for each (N, C, H, W), or an `input_shape` with any number "
                "of sizes"
            ),
        ),
        (
            'input: ["a", "b"] input_shape { dim: 1 }',
            "E 1:19 input-shape: the net has 2 `input`, but 1 `input_shape` | write one for each, in the same order",
        ),
    ],
)
def test_inputs_with_too_few_shapes(text: str, expected: str) -> None:
    assert upgraded(text)[1] == [expected]


def test_the_net_of_a_caffemodel_has_inputs_without_shapes() -> None:
    net = Message("NetParameter")
    net.add("input", Entry("data"))
    diagnostics = Diagnostics()
    assert to_prototxt(upgrade(net, diagnostics)) == ""
    assert not list(diagnostics)


def test_three_params_of_batch_norm_stop_learning() -> None:
    text, found = upgraded(
        'layer { type: "BatchNorm" param { name: "m" lr_mult: 1 } param { } param { } }\n'
        'layer { type: "BatchNorm" param { lr_mult: 1 } }\n'
        'layer { type: "Scale" param { } param { } param { } }\n'
    )
    assert found == []
    assert text.count("lr_mult: 0") == text.count("decay_mult: 0") == 3
    assert 'name: "m"' in text
    assert text.count("lr_mult: 1") == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("concat_param { concat_dim: 2 }", "concat_param { axis: 2 }"),
        ("slice_param { slice_dim: 0 }", "slice_param { axis: 0 }"),
        (
            'type: "SoftmaxWithLoss" loss_param { normalize: true }',
            'type: "SoftmaxWithLoss" loss_param { normalization: VALID }',
        ),
        (
            'type: "SigmoidCrossEntropyLoss" loss_param { normalize: false }',
            'type: "SigmoidCrossEntropyLoss" loss_param { normalization: BATCH_SIZE }',
        ),
        (
            'type: "SoftmaxWithLoss" loss_param { normalize: true normalization: NONE }',
            'type: "SoftmaxWithLoss" loss_param { normalization: NONE }',
        ),
        (
            'type: "InfogainLoss" loss_param { normalize: true }',
            'type: "InfogainLoss" loss_param { normalize: true }',
        ),
        (
            'top: ["a", "b"] dummy_data_param { num: 1 channels: 2 height: 3 width: 4 }',
            'top: ["a", "b"] dummy_data_param { shape { dim: [1, 2, 3, 4] } }',
        ),
        (
            'top: ["a", "b"] dummy_data_param { num: [1, 9] channels: 2 height: 3 width: 4 }',
            (
                'top: ["a", "b"] dummy_data_param { shape { dim: [1, 2, 3, 4] }'
                " shape { dim: [9, 2, 3, 4] } }"
            ),
        ),
    ],
)
def test_deprecated_fields(old: str, new: str) -> None:
    text, found = upgraded(f"layer {{ {old} }}")
    assert found == []
    assert text == to_prototxt(
        read(SourceFile("x", f"layer {{ {new} }}"), Diagnostics())
    )


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (
            "concat_param { axis: 1 concat_dim: 2 }",
            (
                "E 1:32 both-forms: `concat_dim` and `axis` can't both be set | "
                "`concat_dim` is the older form; remove it"
            ),
        ),
        (
            "slice_param { slice_dim: 2 axis: 1 }",
            (
                "E 1:23 both-forms: `slice_dim` and `axis` can't both be set | "
                "`slice_dim` is the older form; remove it"
            ),
        ),
        (
            "dummy_data_param { num: 2 shape { } }",
            (
                "E 1:28 both-forms: `num` and `shape` can't both be set | "
                "`num` is the older form; remove it"
            ),
        ),
        (
            'top: "a" dummy_data_param { num: [1, 2] channels: 2 height: 3 width: 4 }',
            (
                "E 1:37 dummy-data-shape: DummyData takes one `num`, or one for each top, "
                "not 2 | give a `shape` for each top instead"
            ),
        ),
        (
            'top: "a" dummy_data_param { num: 1 channels: 2 height: 3 }',
            (
                "E 1:37 dummy-data-shape: DummyData takes one `width`, or one for each top, "
                "not 0 | give a `shape` for each top instead"
            ),
        ),
    ],
)
def test_old_and_new_form_together(layer: str, expected: str) -> None:
    assert upgraded(f"layer {{ {layer} }}")[1] == [expected]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
        ("3", "RMSProp"),
    ],
)
def test_solver_type(old: str, new: str) -> None:
    becomes(
        f"base_lr: 1\nsolver_type: {old}  # kind\n",
        f'base_lr: 1\ntype: "{new}"  # kind\n',
    )


def test_both_solver_types_are_refused() -> None:
    _, found = upgraded('solver_type: ADAM type: "Adam" base_lr: 1')
    assert found == [
        (
            "E 1:1 both-forms: `solver_type` and `type` can't both be set | "
            "`solver_type` is the older form; remove it"
        )
    ]


def test_nets_inside_a_solver_are_upgraded_too() -> None:
    text, found = upgraded(
        "base_lr: 1\nnet_param { layers { type: RELU } }\n"
        "test_net_param { layers { type: TANH } } test_net_param { }"
    )
    assert found == []
    assert "layers" not in text
    assert '"ReLU"' in text
    assert '"TanH"' in text


def test_upgrading_reads_nothing() -> None:
    diagnostics = Diagnostics()
    net = read_net(SourceFile("test.prototxt", V0), diagnostics)
    net = upgrade(net, diagnostics)
    assert {path for path, _ in net.unread()} == {"name", "layer"}


def test_upgrading_twice_changes_nothing() -> None:
    once, _ = upgraded(V0)
    assert upgraded(once) == (once, [])


def test_places_survive() -> None:
    diagnostics = Diagnostics()
    net = upgrade(read_net(SourceFile("v0.prototxt", V0), diagnostics), diagnostics)
    conv = net.layer[1]
    assert str(conv.span) == "v0.prototxt:24:1"
    assert str(conv.span_of("type")) == "v0.prototxt:27:5"
    assert str(conv.convolution_param.span_of("kernel_size")) == "v0.prototxt:30:5"
    assert str(conv.param[1].span_of("lr_mult")) == "v0.prototxt:36:5"


def built_by_caffe() -> list[dict[str, Any]]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "shapes.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.slow
@needs_corpus
@pytest.mark.parametrize(
    "built", built_by_caffe(), ids=lambda built: f"{built['file']}-{built['phase']}"
)
def test_corpus_has_the_blobs_and_parameters_that_caffe_built(
    built: dict[str, Any],
) -> None:
    diagnostics = Diagnostics()
    net = upgrade(read_net(CORPUS / built["file"], diagnostics), diagnostics)
    assert not [d for d in diagnostics if d.severity is Severity.ERROR]
    phase = built["phase"].split("+")[0].upper()
    layers = list(of_phase(net, phase))
    blobs = {b for b in built["net"]["blobs"] if "_split_" not in b} - {"(automatic)"}
    assert {top for layer in layers for top in layer.top} == blobs
    assert built["net"]["params"].keys() <= {layer.name for layer in layers}


def of_phase(net: Message, phase: str) -> Iterator[Message]:
    def meets(rule: Message) -> bool:
        return not rule.has("phase") or rule.phase == phase

    for layer in net.layer:
        if any(map(meets, layer.include)) or (
            not layer.include and not any(map(meets, layer.exclude))
        ):
            yield layer
