"""WindowData: the warp of window_data_layer.cpp in plain loops, sampling, the file."""

import math

import cv2
import numpy as np
import pytest

from caffe2k.runtime.labelled_images import RecordError
from caffe2k.runtime.readers import Batches
from caffe2k.runtime.window_data import WindowReader, WindowWarp

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (40, 50, 3), np.uint8)
MEAN = RANDOM.uniform(0, 255, (3, 19, 21)).astype(np.float32)
f = np.float32


def c_round(value):
    value = float(value)
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def caffes_window(box, flip, size, pad, mode, mean, values, scale):
    """What WindowDataLayer::load_batch writes for one window, (C, H, W)."""
    x1, y1, x2, y2 = box
    width = height = size
    pad_w = pad_h = 0
    if pad > 0 or mode == "square":
        context = f(size) / f(size - 2 * pad)
        half_h, half_w = f(f(y2 - y1 + 1) / 2), f(f(x2 - x1 + 1) / 2)
        center_x, center_y = f(x1) + half_w, f(y1) + half_h
        if mode == "square":
            half_h = half_w = max(half_h, half_w)
        x1, x2 = (c_round(center_x + s * half_w * context) for s in (f(-1), f(1)))
        y1, y2 = (c_round(center_y + s * half_h * context) for s in (f(-1), f(1)))
        scale_x, scale_y = f(size) / f(x2 - x1 + 1), f(size) / f(y2 - y1 + 1)
        pad_x1, pad_y1 = max(0, -x1), max(0, -y1)
        pad_x2 = max(0, x2 - IMAGE.shape[1] + 1)
        pad_y2 = max(0, y2 - IMAGE.shape[0] + 1)
        x1, x2, y1, y2 = x1 + pad_x1, x2 - pad_x2, y1 + pad_y1, y2 - pad_y2
        width = c_round(f(x2 - x1 + 1) * scale_x)
        height = c_round(f(y2 - y1 + 1) * scale_y)
        pad_h = c_round(f(pad_y1) * scale_y)
        pad_w = c_round(f(pad_x2 if flip else pad_x1) * scale_x)
        height = min(height, size - pad_h)
        width = min(width, size - pad_w)
    cropped = cv2.resize(IMAGE[y1 : y2 + 1, x1 : x2 + 1], (width, height))
    if flip:
        cropped = cv2.flip(cropped, 1)
    top = np.zeros((3, size, size), np.float32)
    offset = (mean.shape[2] - size) // 2 if mean is not None else 0
    for h in range(height):
        for w in range(width):
            for c in range(3):
                pixel = f(cropped[h, w, c])
                if mean is not None:
                    pixel -= mean[c, h + offset + pad_h, w + offset + pad_w]
                elif values:
                    pixel -= f(values[c if len(values) > 1 else 0])
                top[c, h + pad_h, w + pad_w] = pixel * f(scale)
    return top


BOXES = [(3, 4, 22, 30), (0, 0, 49, 39), (0, 2, 5, 38), (30, 1, 49, 9), (7, 7, 7, 7)]


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("pad", [0, 2, 5])
@pytest.mark.parametrize("mode", ["warp", "square"])
@pytest.mark.parametrize(
    ("mean", "values", "scale"),
    [(None, (), 1.0), (MEAN, (), 1.0), (None, (104.5,), 0.25), (None, (1, 2, 3), 1.0)],
)
def test_windows_are_warped_as_in_caffe(flip, pad, mode, mean, values, scale):
    warp = WindowWarp(
        17,
        mean=mean,
        mean_values=values,
        scale=scale,
        context_pad=pad,
        crop_mode=mode,
    )
    for box in BOXES:
        target = np.full((17, 17, 3), np.nan, np.float32)
        warp.into(target, (IMAGE.transpose(2, 0, 1), box), flip)
        expected = caffes_window(box, flip, 17, pad, mode, mean, values, scale)
        np.testing.assert_array_equal(target.transpose(2, 0, 1), expected)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 50, 5), (9, 0, 5, 5)])
def test_a_window_outside_its_image(box):
    with pytest.raises(ValueError, match="not within the image of 40 x 50"):
        WindowWarp(9).into(np.empty((9, 9, 3)), (IMAGE.transpose(2, 0, 1), box), 0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop_size": 0}, "no room for a context of 0"),
        ({"crop_size": 8, "context_pad": 4}, "no room for a context of 4"),
        ({"mean": MEAN, "mean_values": [1]}, "exclude each other"),
        ({"mean_values": [1, 2]}, "2 mean_value for 3 channels"),
        (
            {"crop_size": 20, "mean": MEAN},
            r"\(3, 19, 21\) does not hold a square of 20",
        ),
    ],
)
def test_settings_that_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        WindowWarp(**{"crop_size": 9, **settings})


@pytest.fixture
def source(tmp_path):
    """Two images; objects of classes 1 to 4, background, and one window of neither."""
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), IMAGE)
    (tmp_path / "windows.txt").write_text(
        "# 0\na.png\n3 40 50\n4\n"
        "1 0.5 0 0 9 9\n2 1.0 1 1 9 9\n3 0.1 2 2 9 9\n4 0.3 3 3 9 9\n"
        "# 1\nb.png\n3 40 50\n3\n"
        "3 0.7 4 4 9 9\n4 0.6 5 5 9 9\n7 0 6 6 9 9\n"
    )
    return tmp_path / "windows.txt"


def reader(source, size=8, warp=None, **settings):
    warp = warp or WindowWarp(4, mirror=True)
    tops, root = ("data", "label"), source.parent
    return WindowReader(source, size, tops, warp, root=root, **settings)


def test_background_comes_first_and_then_objects(source):
    windows = reader(source, fg_fraction=0.4, bg_threshold=0.2)
    stream = Batches([windows], "data", "label", seed=0)
    labels = np.stack([next(stream)[1] for _ in range(40)])
    # int(8 * 0.4) windows are objects; background has label 0, whatever the file says.
    assert (labels[:, :5] == 0).all()
    assert set(labels[:, 5:].ravel()) == {1, 2, 3, 4}
    counts = np.bincount(labels[:, 5:].ravel().astype(int))[1:]
    assert counts.min() > 15
    stream.close()


def test_a_seed_fixes_windows_and_mirrors(source):
    streams = [Batches([reader(source)], "data", "label", seed=s) for s in (1, 1, 2)]
    first, same, other = (np.stack([next(s)[0] for _ in range(5)]) for s in streams)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_images_kept_in_memory(source):
    windows = reader(source, cache_images=True)
    stream = Batches([windows], "data", "label", prefetch=1)
    for _ in range(5):
        next(stream)
    for name in "ab":
        (source.parent / f"{name}.png").unlink()
    next(stream)
    next(stream)
    stream.close()


def test_an_image_that_is_missing_is_named(source):
    (source.parent / "a.png").unlink()
    with pytest.raises(
        RecordError, match=r"windows.txt, window \(0, 0, 9, 9\) of 'a.p"
    ):
        Batches([reader(source)], "data", "label")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 windows of objects and 0 of background"),
        ("# 0\na.png\n3 4 5\n1\n1 0.9 0 0 1 1\n", "1 windows of objects and 0"),
        ("# 0\na.png\n3 4 5\n1\n0 0.9 0 0 1 1\n", "an object has a class below 1"),
        ("# 3\na.png\n3 4 5\n1\n1 0.9 0 0 1 1\n", "1 images, and none of number 3"),
        ("# 0\na.png\n3 4 5\n2\n1 0.9 0 0 1 1\n", "is not a window file: .*it ends"),
        ("0\na.png\n", "is not a window file: .*begins with '#'"),
        ("# 0\na.png\n3 4 5\n1\n1 x 0 0 1 1\n", "is not a window file: .*'x'"),
    ],
)
def test_files_that_are_refused(source, text, words):
    source.write_text(text)
    with pytest.raises(ValueError, match=words):
        reader(source)
