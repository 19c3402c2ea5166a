"""SSD nets in Keras: SSD300 is built, and a small one trains and tests as emitted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from caffe2k.schema.caffe_pb2 import AnnotatedDatum
from caffe2k.translation import translate
from tests.conformance.emitted import imported
from tests.e2e.processes import python
from tests.unit import ssd_nets
from tests.unit.nets import layer

pytestmark = [
    pytest.mark.slow,
    # Keras 3.15 converts variables for saving in a way that NumPy 2 will give up.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def test_ssd300_detects(tmp_path: Path) -> None:
    import keras

    path = tmp_path / "deploy.prototxt"
    path.write_text(ssd_nets.deploy(width=4))
    translate(path).write(tmp_path / "out")
    with imported(tmp_path / "out", "model") as module:
        model = module.build_model()
        assert model.get_layer("mbox_loc").output.shape == (None, 34928)
        image = np.random.default_rng(0).normal(0, 30, (2, 300, 300, 3))
        rows = model.predict_on_batch(image.astype("float32"))
        assert rows.shape[0] == 1
        assert rows.shape[2:] == (7, 1)
        assert (np.bincount(rows[0, :, 0, 0].astype(int)) <= 200).all()
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again.predict_on_batch(image), rows)


def _net(source: str) -> str:
    data = """layer { name: "data" type: "AnnotatedData" top: "data" top: "label"
      include { phase: %s }
      transform_param { mean_value: 104 mean_value: 117 mean_value: 123 %s
        resize_param { height: 32 width: 32 } }
      data_param { source: "%s" batch_size: %d backend: LMDB }
      annotated_data_param { batch_sampler { max_sample: 1 max_trials: 1 }
        batch_sampler {
          sampler { min_scale: 0.3 max_scale: 1 min_aspect_ratio: 0.5 }
          sample_constraint { min_jaccard_overlap: 0.1 } max_sample: 1 }
        label_map_file: "labelmap.prototxt" } }
    """
    chance = """mirror: true expand_param { prob: 0.5 max_expand_ratio: 2 }
      emit_constraint { emit_type: CENTER } distort_param { hue_prob: 0.5 hue_delta: 18 }
    """
    test = "include { phase: TEST }"
    flat = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
    conv = "convolution_param { num_output: %d kernel_size: 3 stride: %d pad: 1 %s }"
    filler = 'weight_filler { type: "xavier" }'
    text = data % ("TRAIN", chance, source, 3) + data % ("TEST", "", source, 2)
    text += layer("conv", "Convolution", "data", more=conv % (8, 4, filler))
    for head, outputs in (("loc", 16), ("conf", 12)):
        text += layer(head, "Convolution", "conv", more=conv % (outputs, 1, filler))
        text += layer(f"{head}_perm", "Permute", head, more=flat)
        text += layer(f"{head}_flat", "Flatten", f"{head}_perm")
    prior = "prior_box_param { min_size: 8 max_size: 14 aspect_ratio: 2 }"
    text += layer("prior", "PriorBox", "conv data", more=prior)
    loss = "multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE }"
    text += layer(
        "mbox_loss",
        "MultiBoxLoss",
        "loc_flat conf_flat prior label",
        more=f"include {{ phase: TRAIN }} {loss}",
    )
    shape = f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: 3 }} }} {test}"
    text += layer("scores", "Reshape", "conf_flat", more=shape)
    text += layer(
        "softmax", "Softmax", "scores", more=f"softmax_param {{ axis: 2 }} {test}"
    )
    text += layer("flat", "Flatten", "softmax", more=test)
    output = "detection_output_param { num_classes: 3 keep_top_k: 20 "
    output += f"nms_param {{ top_k: 40 }} code_type: CENTER_SIZE }} {test}"
    text += layer("found", "DetectionOutput", "loc_flat flat prior", more=output)
    evaluate = f"detection_evaluate_param {{ num_classes: 3 }} {test}"
    return text + layer("evaluation", "DetectionEvaluate", "found label", more=evaluate)


SOLVER = """net: "net.prototxt" base_lr: 0.00002 lr_policy: "fixed" momentum: 0.9
max_iter: 9 display: 3 test_iter: 6 test_interval: 9 snapshot_after_train: false
eval_type: "detection" ap_version: "11point" show_per_class_result: true random_seed: 1
"""


def _database(path: Path) -> None:
    """Twelve images of a bright and a dark box, or of one of them, or of none."""
    import cv2
    import lmdb

    rng = np.random.default_rng(0)
    with (
        lmdb.open(str(path), map_size=2**24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i in range(12):
            image = rng.integers(100, 140, (40 + i % 3, 50, 3), dtype=np.uint8)
            annotated = AnnotatedDatum(type=AnnotatedDatum.BBOX)
            for label in (1, 2)[: i % 3]:
                x, y = rng.uniform(0, 0.6, 2)
                group = annotated.annotation_group.add(group_label=label)
                box = group.annotation.add().bbox
                box.xmin, box.ymin, box.xmax, box.ymax = x, y, x + 0.35, y + 0.35
                rows, columns = slice(int(y * 40), int(y * 40) + 14), int(x * 50)
                image[rows, columns : columns + 17] = 255 * (label - 1)
            datum = annotated.datum
            datum.data = cv2.imencode(".jpg", image)[1].tobytes()
            datum.encoded, datum.channels = True, 3
            datum.height, datum.width = image.shape[:2]
            transaction.put(b"%08d" % i, annotated.SerializeToString())


def test_annotated_data_trains_and_tests(tmp_path: Path) -> None:
    _database(tmp_path / "lmdb")
    (tmp_path / "net.prototxt").write_text(_net("lmdb"))
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    out = tmp_path / "out"
    translation = translate(tmp_path / "solver.prototxt", output=out)
    assert translation.warnings == ()
    translation.write(out)
    done = python(
        *("train.py", "--log", "lines"),
        folder=out,
        data=tmp_path,
        PYTHONDONTWRITEBYTECODE="1",
    )
    losses = [float(x) for x in re.findall(r"iters\), loss = (\S+)", done.stdout)]
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0]
    assert "Train net output #0: mbox_loss = " in done.stdout
    tests = re.findall(r"Test net output #0: evaluation = (\S+)", done.stdout)
    assert len(tests) == 2
    assert all(0 <= float(value) <= 1 for value in tests)
    assert len(re.findall(r"^class[12]: ", done.stdout, re.MULTILINE)) == 4


def test_image_sizes_lie_beside_the_model(tmp_path: Path) -> None:
    text = "".join(
        layer(name, "Input", more=f"input_param {{ shape {{ dim: 1 dim: 1 {rest} }} }}")
        for name, rest in (("found", "dim: 2 dim: 7"), ("truth", "dim: 1 dim: 8"))
    )
    param = (
        "num_classes: 2 name_size_file: 'sizes.txt' resize_param { width: 3 height: 3 }"
    )
    text += layer(
        "evaluation",
        "DetectionEvaluate",
        "found truth",
        more=f"detection_evaluate_param {{ {param} }}",
    )
    (tmp_path / "net.prototxt").write_text(text)
    (tmp_path / "sizes.txt").write_text("a 20 30\nb 500 353\n")
    translation = translate(tmp_path / "net.prototxt")
    assert translation.warnings == ()
    translation.write(tmp_path / "out")
    with imported(tmp_path / "out", "model") as module:
        made = module.build_model().get_layer("evaluation")
        assert made.image_sizes == [[20, 30], [500, 353]]
        assert made.resize == {"width": 3, "height": 3}
