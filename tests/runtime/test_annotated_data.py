"""AnnotatedData: its records, and what becomes of images and boxes together."""

import annotated_rules as rules
import cv2
import lmdb
import numpy as np
import pytest

from caffe2k.runtime import annotations, augmentation
from caffe2k.runtime.annotated_data import AnnotatedReader, parse_annotated_datum
from caffe2k.runtime.annotated_images import AnnotatedTransformer
from caffe2k.runtime.annotations import Boxes
from caffe2k.runtime.datum import DatumError
from caffe2k.runtime.labelled_images import RecordError
from caffe2k.runtime.reading import Reading
from caffe2k.schema.caffe_pb2 import AnnotatedDatum


def record(image, groups=(), coding=".png", has_type=True):
    """`groups` are (label, [(instance, box, difficult)]); `image` (H, W, C) or (H, W)."""
    annotated = AnnotatedDatum()
    if has_type:
        annotated.type = AnnotatedDatum.BBOX
    datum = annotated.datum
    if coding:
        datum.data = cv2.imencode(coding, image)[1].tobytes()
        datum.encoded = True
    else:
        datum.data = np.moveaxis(image, -1, 0).tobytes()
    datum.height, datum.width = image.shape[:2]
    datum.channels = image.shape[2] if image.ndim == 3 else 1
    datum.label = 7
    for label, objects in groups:
        group = annotated.annotation_group.add(group_label=label)
        for instance, corners, difficult in objects:
            added = group.annotation.add(instance_id=instance)
            box = added.bbox
            box.xmin, box.ymin, box.xmax, box.ymax = corners
            box.difficult = difficult
    return annotated.SerializeToString()


def database(folder, records):
    path = folder / "lmdb"
    with (
        lmdb.open(str(path), map_size=2**24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i, content in enumerate(records):
            transaction.put(b"%08d" % i, content)
    return path


def some_image(rng, height=20, width=30):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def some_boxes(rng, number):
    start = rng.uniform(-0.1, 0.7, (number, 2))
    corners = np.concatenate([start, start + rng.uniform(0.05, 0.6, (number, 2))], 1)
    return boxes_of(corners)


def boxes_of(corners):
    corners = np.array(corners, np.float32).reshape(-1, 4)
    number = len(corners)
    return Boxes(
        corners,
        np.full(number, np.nan, np.float32),
        np.arange(number),
        np.zeros(number, int),
        np.zeros(number, bool),
    )


@pytest.fixture
def rng():
    return np.random.default_rng(3)


GROUPS = [
    [(2, [(0, (0.1, 0.2, 0.5, 0.6), False), (1, (0.3, 0.3, 0.9, 1.0), True)])],
    [],
    [(1, [(5, (0.0, 0.0, 0.25, 0.5), False)]), (9, [(0, (0.5, 0.5, 1, 1), False)])],
]


def test_batches(tmp_path, rng):
    images = [some_image(rng) for _ in GROUPS]
    path = database(tmp_path, map(record, images, GROUPS))
    transform = AnnotatedTransformer(
        "TEST", mean_values=(1, 2, 3), scale=0.5, resize={"height": 9, "width": 11}
    )
    reader = iter(AnnotatedReader(path, 3, ["data", "label"], "LMDB", transform))
    batch = next(reader)
    expected = [cv2.resize(image, (11, 9)) for image in images]
    expected = (np.array(expected, np.float32) - [1, 2, 3]) * 0.5
    np.testing.assert_allclose(batch["data"], np.moveaxis(expected, -1, 1), atol=1e-5)
    rows = [
        [0, 2, 0, 0.1, 0.2, 0.5, 0.6, 0],
        [0, 2, 1, 0.3, 0.3, 0.9, 1.0, 1],
        [2, 1, 5, 0.0, 0.0, 0.25, 0.5, 0],
        [2, 9, 0, 0.5, 0.5, 1, 1, 0],
    ]
    assert batch["label"].dtype == np.float32
    np.testing.assert_allclose(batch["label"], np.array(rows)[None, None], atol=1e-6)
    np.testing.assert_array_equal(next(reader)["label"], batch["label"])


def test_batch_without_boxes(tmp_path, rng):
    path = database(tmp_path, [record(some_image(rng))])
    reader = AnnotatedReader(path, 2, ["data", "label"], "LMDB")
    label = next(iter(reader))["label"]
    np.testing.assert_array_equal(label, np.full((1, 1, 1, 8), -1))


def test_labels_without_a_type(tmp_path, rng):
    content = record(some_image(rng), GROUPS[0], has_type=False)
    path = database(tmp_path, [content])
    reader = AnnotatedReader(path, 2, ["data", "label"], "LMDB")
    np.testing.assert_array_equal(next(iter(reader))["label"], np.full((2, 1, 1, 1), 7))
    reader = AnnotatedReader(path, 2, ["data", "label"], "LMDB", anno_type="BBOX")
    with pytest.raises(RecordError, match="no type of annotation"):
        next(iter(reader))


def test_bad_records_are_named_or_skipped(tmp_path, rng):
    good = record(some_image(rng), GROUPS[0])
    path = database(tmp_path, [good, b"\x0a\xff", good])
    reader = AnnotatedReader(path, 3, ["data", "label"], "LMDB")
    with pytest.raises(RecordError, match="record '00000001'"):
        next(iter(reader))
    bad = set()
    reading = Reading(bad=bad)
    reader.check(reading)
    batch = reader.batch(0, reading)
    assert len(bad) == 1
    np.testing.assert_array_equal(batch["data"][1], batch["data"][2])
    assert batch["label"][0, 0, :, 0].tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(DatumError, match="no datum"):
        parse_annotated_datum(b"\x10\x00")


def test_the_same_seed_gives_the_same_batch(tmp_path, rng):
    path = database(tmp_path, [record(some_image(rng), GROUPS[0])])
    transform = AnnotatedTransformer(
        "TRAIN", mirror=True, expand={"max_expand_ratio": 3.0}, resize=SQUARE
    )
    made = []
    for seed in (1, 1, 2):
        reader, reading = (
            AnnotatedReader(path, 4, ["data", "label"], "LMDB", transform),
            Reading(seed),
        )
        reader.check(reading)
        made.append(reader.batch(5, reading)["data"])
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any()


SQUARE = {"height": 60, "width": 60}


@pytest.mark.parametrize(
    "emit",
    [
        None,
        {},
        {"emit_type": "CENTER"},
        {"emit_type": "MIN_OVERLAP", "emit_overlap": 0.4},
    ],
)
def test_cut(emit, rng):
    boxes = some_boxes(rng, 200)
    window = np.array([0.2, 0.1, 0.7, 0.9], np.float32)
    expected = []
    for box, label in zip(boxes.corners.tolist(), boxes.label, strict=True):
        given = emit or {}
        kind = given.get("emit_type", "CENTER")
        if emit is not None and not rules.emitted(
            window, box, kind, given.get("emit_overlap")
        ):
            continue
        found = rules.projected(window, box)
        if found is not None:
            expected.append((label, found))
    assert 0 < len(expected) < 200
    left = annotations.cut(boxes, window, emit)
    assert left.label.tolist() == [label for label, _ in expected]
    np.testing.assert_allclose(left.corners, [box for _, box in expected], atol=1e-5)


@pytest.mark.parametrize("mode", ["WARP", "FIT_LARGE_SIZE_AND_PAD", "FIT_SMALL_SIZE"])
@pytest.mark.parametrize("image", [(30, 20), (20, 50)])
def test_resized_boxes(mode, image, rng):
    boxes = some_boxes(rng, 50)
    settings = {"resize_mode": mode, "height": 24, "width": 30}
    expected = [rules.resized(box, *image, settings) for box in boxes.corners.tolist()]
    found = annotations.resized(boxes, *image, settings)
    np.testing.assert_allclose(found.corners, expected, atol=1e-5)


CONSTRAINTS = [
    {},
    {"min_jaccard_overlap": 0.3},
    {"max_jaccard_overlap": 0.2},
    {"min_sample_coverage": 0.3, "max_sample_coverage": 0.6},
    {"min_object_coverage": 0.9},
    {"min_jaccard_overlap": 0.3, "min_object_coverage": 0.99},
]


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_samples_meet_their_constraint(constraint, rng):
    boxes = some_boxes(rng, 3)
    sizes = {
        "min_scale": 0.3,
        "max_scale": 0.9,
        "min_aspect_ratio": 0.5,
        "max_aspect_ratio": 2.0,
    }
    for _ in range(300):
        window = annotations._window(rng, **sizes)
        width, height = window[2:] - window[:2]
        assert (window >= 0).all()
        assert (window <= 1 + 1e-6).all()
        assert 0.3 - 1e-6 <= (width * height) ** 0.5 <= 0.9 + 1e-6
        assert annotations._satisfies(
            window, boxes.corners, constraint
        ) == rules.satisfied(window.tolist(), boxes.corners.tolist(), constraint)
    sampler = {"sampler": sizes, "sample_constraint": constraint, "max_trials": 40}
    found = annotations.sample(boxes, [{**sampler, "max_sample": 2}], rng)
    assert len(found) <= 2
    assert len(annotations.sample(boxes, [{"max_trials": 3}], rng)) == 3
    assert annotations.sample(boxes, [{"use_original_image": False}], rng) == []


MODES = {
    "warp": {"resize": SQUARE},
    "area": {"resize": {**SQUARE, "interp_mode": ["AREA", "CUBIC", "NEAREST"]}},
    "padded": {
        "resize": {
            "resize_mode": "FIT_LARGE_SIZE_AND_PAD",
            "height": 80,
            "width": 60,
            "pad_value": [9, 9, 9],
        }
    },
    "small side": {
        "resize": {"resize_mode": "FIT_SMALL_SIZE", "height": 50, "width": 50},
        "crop": (50, 50),
    },
    "crop": {"resize": SQUARE, "crop": (48, 40)},
    "crop size": {"crop_size": 30},
    "expanded": {"expand": {"prob": 1.0, "max_expand_ratio": 2.0}, "resize": SQUARE},
    "sampled": {
        "samplers": [
            {"sampler": {"min_scale": 0.6, "max_scale": 0.9}, "max_sample": 1}
        ],
        "resize": SQUARE,
    },
    "all": {
        "expand": {"prob": 0.5, "max_expand_ratio": 2.0},
        "samplers": [
            {"sampler": {"min_scale": 0.6, "max_scale": 0.9}, "max_sample": 1}
        ],
        "resize": SQUARE,
        "crop": (50, 56),
    },
}


@pytest.mark.parametrize("case", MODES)
def test_boxes_stay_around_their_objects(case, rng):
    """A white object on black: it is where its box says, whatever was done."""
    image = np.zeros((3, 60, 90), np.uint8)
    image[:, 20:50, 27:72] = 255
    boxes = boxes_of([[0.3, 1 / 3, 0.8, 5 / 6]])
    transform = AnnotatedTransformer("TRAIN", mirror=True, **MODES[case])
    seen = 0
    for _ in range(12):
        pixels, found = transform.apply(image, boxes, True, rng)
        _, *size = transform.output_shape((3, 60, 90))
        assert pixels.shape == (*size, 3)
        rows, columns = np.nonzero(pixels[..., 0] > 128)
        if len(found.label) and len(rows):
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            corners = found.corners[0] * [size[1], size[0], size[1], size[0]]
            # Caffe cuts at whole pixels, which are enlarged by the resizing.
            np.testing.assert_allclose(corners, expected, atol=4)
            seen += 1
    assert seen > 3


def test_mirrored_mean(rng):
    """The mean image of an encoded image is not mirrored, that of a raw one is."""
    image = np.moveaxis(some_image(rng, 6, 8), -1, 0)
    mean = rng.uniform(0, 255, image.shape).astype(np.float32)
    transform = AnnotatedTransformer("TEST", mean=mean, mirror=True)
    left = {True: image - mean, False: image - mean}
    right = {True: image[:, :, ::-1] - mean, False: (image - mean)[:, :, ::-1]}
    for encoded in (True, False):
        found = [
            np.moveaxis(transform.apply(image, boxes_of([]), encoded, rng)[0], -1, 0)
            for _ in range(12)
        ]
        straight = [np.allclose(f, left[encoded], atol=1e-4) for f in found]
        turned = [np.allclose(f, right[encoded], atol=1e-4) for f in found]
        assert any(straight)
        assert any(turned)
        assert all(a or b for a, b in zip(straight, turned, strict=True))


def test_raw_images_are_not_resized(rng):
    image = np.moveaxis(some_image(rng, 6, 8), -1, 0)
    transform = AnnotatedTransformer("TEST", resize={"height": 6, "width": 8})
    pixels, _ = transform.apply(image, boxes_of([]), False, rng)
    np.testing.assert_array_equal(np.moveaxis(pixels, -1, 0), image)
    transform = AnnotatedTransformer("TEST", resize={"height": 5, "width": 8})
    with pytest.raises(ValueError, match="does not resize raw images"):
        transform.apply(image, boxes_of([]), False, rng)


def test_what_surrounds_an_expanded_image(rng):
    image = np.full((3, 10, 10), 200, np.uint8)
    expand = {"max_expand_ratio": 3.0}
    coded = AnnotatedTransformer("TEST", expand=expand, mean_values=[104.4])
    pixels, _ = coded.apply(image, boxes_of([]), True, rng)
    assert pixels.shape[0] > 12
    corner = pixels[[0, 0, -1, -1], [0, -1, 0, -1]] + 104.4
    assert (np.abs(corner - 104) < 3).any(axis=0).all()
    raw = AnnotatedTransformer("TEST", expand=expand)
    with pytest.raises(ValueError, match="does not resize"):
        AnnotatedTransformer("TEST", expand=expand, resize=SQUARE).apply(
            image, boxes_of([]), False, rng
        )
    pixels, _ = raw.apply(image, boxes_of([]), False, rng)
    assert set(np.unique(pixels)) == {32, 200}


def test_distortion(rng):
    image = some_image(rng)
    fixed = {
        "contrast_prob": 1.0,
        "contrast_lower": 1.3,
        "contrast_upper": 1.3,
        "saturation_prob": 1.0,
        "saturation_lower": 0.6,
        "saturation_upper": 0.6,
    }

    def contrast(pixels):
        return np.clip(np.rint(pixels * np.float32(1.3)), 0, 255).astype(np.uint8)

    def saturation(pixels):
        hsv = cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV)
        hsv[..., 1] = np.rint(hsv[..., 1] * np.float32(0.6))
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)

    orders = [saturation(contrast(image)), contrast(saturation(image))]
    found = [augmentation.distorted(image, rng, fixed) for _ in range(10)]
    for expected in orders:
        assert any((made == expected).all() for made in found)
    assert all(any((made == o).all() for o in orders) for made in found)
    np.testing.assert_array_equal(augmentation.distorted(image, rng, {}), image)
    brighter = {"brightness_prob": 1.0, "brightness_delta": 40.0}
    change = augmentation.distorted(image, rng, brighter).astype(int) - image
    assert 0 < np.abs(change).max() <= 40
    order = augmentation.distorted(image, rng, {"random_order_prob": 1.0})
    np.testing.assert_array_equal(np.sort(order, -1), np.sort(image, -1))
    hue = augmentation.distorted(image, rng, {"hue_prob": 1.0, "hue_delta": 30.0})
    assert (hue != image).any()


def test_noise(rng):
    image = some_image(rng)

    def noised(**settings):
        return augmentation.noised(image, rng, settings)

    np.testing.assert_array_equal(noised(inverse=True), 255 - image)
    np.testing.assert_array_equal(noised(posterize=True), image // 64 * 64 + 32)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(noised(decolorize=True), np.dstack([grey] * 3))
    np.testing.assert_array_equal(
        noised(gauss_blur=True), cv2.GaussianBlur(image, (7, 7), 1.5)
    )
    np.testing.assert_array_equal(
        noised(convert_to_hsv=True), cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    )
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    np.testing.assert_array_equal(noised(erode=True), cv2.erode(image, ellipse))
    for name in ("hist_eq", "clahe"):
        assert (noised(**{name: True}) != image).any()
        assert augmentation.noised(grey, rng, {name: True}).shape == grey.shape
    assert 0 < np.abs(noised(jpeg=50.0).astype(int) - image).mean() < 60
    salted = noised(
        saltpepper=True, saltpepper_param={"fraction": 0.1, "value": [1, 2, 3]}
    )
    changed = (salted != image).any(axis=-1)
    assert 0 < changed.sum() <= 60
    assert (salted[changed] == [1, 2, 3]).all()


def test_what_caffe_refuses(rng):
    image = np.zeros((3, 20, 30), np.uint8)
    with pytest.raises(ValueError, match="larger than"):
        AnnotatedTransformer("TEST", crop=(30, 30)).output_shape((3, 20, 40))
    with pytest.raises(ValueError, match="2 mean_value"):
        AnnotatedTransformer("TEST", mean_values=[1, 2]).output_shape((3, 20, 40))
    with pytest.raises(ValueError, match="three channels"):
        AnnotatedTransformer("TEST", distort={}).apply(
            image[:1], boxes_of([]), True, rng
        )
    mean = np.zeros((3, 20, 20), np.float32)
    with pytest.raises(ValueError, match="another shape"):
        AnnotatedTransformer("TEST", mean=mean).apply(image, boxes_of([]), True, rng)


def test_extrapolated_boxes():
    """Parts of height_scale and width_scale, where a crop is larger than these."""
    boxes = boxes_of([[0.1, 0.2, 0.5, 0.8]])
    settings = {
        "resize_mode": "FIT_SMALL_SIZE",
        "height": 40,
        "width": 40,
        "height_scale": 20,
        "width_scale": 30,
    }
    window = np.array([0, 0, 1, 1], np.float32)
    found = annotations.extrapolated(boxes, 60, 40, window, settings)
    scale = np.array([60 / 30, 40 / 20] * 2)
    np.testing.assert_allclose(
        found.corners[0], [0.1, 0.2, 0.5, 0.8] * scale, atol=1e-6
    )
    with pytest.raises(ValueError, match="smaller than"):
        annotations.extrapolated(boxes, 60, 40, window, {**settings, "width_scale": 70})
