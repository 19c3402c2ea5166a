"""Images on their way into a classifier, against NumPy and pycaffe's formulas."""

import argparse

import cv2
import numpy as np
import pytest

from caffe2k.runtime.images import decode_image
from caffe2k.runtime.prediction import (
    Preparation,
    best,
    mean_of,
    read_binaryproto,
    read_labels,
    size_of,
)
from caffe2k.runtime.transform import Transformer
from caffe2k.schema.caffe_pb2 import BlobProto, BlobShape


@pytest.fixture
def picture(tmp_path, rng):
    """A file, and the BGR pixels in it, of shape (H, W, 3)."""
    pixels = rng.integers(0, 256, (20, 30, 3)).astype("uint8")
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), pixels)
    return path, pixels


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_colours_are_bgr_and_axes_are_those_of_the_model(picture):
    path, pixels = picture
    batch = Preparation((3, 20, 30))(path)
    assert batch.dtype == "float32"
    np.testing.assert_array_equal(batch[0], pixels)
    first = Preparation((3, 20, 30))(path, data_format="channels_first")
    np.testing.assert_array_equal(first[0], pixels.transpose(2, 0, 1))


def test_resize_crop_mean_and_scale(picture, rng):
    path, pixels = picture
    mean = rng.random((3, 12, 16), "float32")
    batch = Preparation((3, 7, 9), (12, 16), mean, 0.5)(path)
    # data_transformer.cpp in TEST: the offset is (height - crop) / 2, of image and mean.
    resized = cv2.resize(pixels, (16, 12)).astype("float32")
    expected = 0.5 * (resized - mean.transpose(1, 2, 0))[2:9, 3:12]
    np.testing.assert_allclose(batch[0], expected, rtol=1e-6)


def test_it_is_what_a_data_layer_does_in_test(picture, rng):
    path, _ = picture
    mean = rng.random((3, 20, 30), "float32") * 255
    ours = Preparation((3, 11, 11), (20, 30), mean, 0.017)(path)
    transformer = Transformer("TEST", crop_size=11, mean=mean, scale=0.017)
    expected = np.empty((11, 11, 3), "float32")
    image = decode_image(path.read_bytes(), color=True)
    transformer.into(expected, image, (False, (None, None)))
    np.testing.assert_array_equal(ours[0], expected)


def test_means_of_a_channel_and_of_the_crop(picture, rng):
    path, pixels = picture
    values = Preparation((3, 20, 30), mean=[1, 2, 3])(path)
    np.testing.assert_array_equal(values[0], pixels - np.array([1, 2, 3], "float32"))
    one = Preparation((3, 20, 30), mean=[4])(path)
    np.testing.assert_array_equal(one[0], pixels - np.float32(4))
    mean = rng.random((3, 10, 10), "float32")
    cropped = Preparation((3, 10, 10), (20, 30), mean)(path)
    expected = pixels[5:15, 10:20] - mean.transpose(1, 2, 0)
    np.testing.assert_allclose(cropped[0], expected, rtol=1e-6)


def test_grey(picture):
    path, _ = picture
    batch = Preparation((1, 20, 30))(path)
    grey = cv2.imdecode(np.fromfile(path, "uint8"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(batch[0, ..., 0], grey)


def test_oversampling_takes_corners_middle_and_mirror_images(picture):
    path, pixels = picture
    batch = Preparation((3, 16, 20))(path, oversample=True)
    assert batch.shape == (10, 16, 20, 3)
    batch = Preparation((3, 16, 20), (20, 30))(path, oversample=True)
    # caffe.io.oversample: the corners, the middle, then all of them mirrored
    corners = [(0, 0), (0, 10), (4, 0), (4, 10), (2, 5)]
    for crop, (top, left) in zip(batch, corners, strict=False):
        np.testing.assert_array_equal(crop, pixels[top : top + 16, left : left + 20])
    np.testing.assert_array_equal(batch[5:], batch[:5, :, ::-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": (5, 40)}, "smaller than the input"),
        ({"mean": np.zeros((3, 9, 9))}, "the mean has the shape"),
        ({"mean": np.zeros((1, 2))}, "the mean has the shape"),
    ],
)
def test_sizes_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        Preparation((3, 20, 30), **settings)


def test_means_from_files_and_numbers(tmp_path, rng):
    mean = rng.random((3, 4, 5), "float32")
    np.save(tmp_path / "mean.npy", mean)
    np.testing.assert_array_equal(mean_of(str(tmp_path / "mean.npy")), mean)
    proto = BlobProto(num=1, channels=3, height=4, width=5, data=mean.ravel())
    (tmp_path / "mean.binaryproto").write_bytes(proto.SerializeToString())
    np.testing.assert_array_equal(mean_of(str(tmp_path / "mean.binaryproto")), mean)
    np.testing.assert_array_equal(mean_of("104,117,123.5"), [104, 117, 123.5])
    with pytest.raises(argparse.ArgumentTypeError, match="neither a file nor numbers"):
        mean_of("missing.npy")


def test_binaryprotos_of_either_shape_and_of_doubles(rng):
    values = rng.random((2, 3)).astype("float32")
    shaped = BlobProto(shape=BlobShape(dim=[2, 3]), data=values.ravel())
    np.testing.assert_array_equal(read_binaryproto(shaped.SerializeToString()), values)
    double = BlobProto(shape=BlobShape(dim=[2, 3]), double_data=values.ravel())
    np.testing.assert_array_equal(read_binaryproto(double.SerializeToString()), values)
    for wrong in (b"", b"\xff", b"\x0b", shaped.SerializeToString()[:-4], b"hello"):
        with pytest.raises(ValueError, match=r"blob|binaryproto|buffer"):
            read_binaryproto(wrong)


def test_best_scores_and_labels(tmp_path):
    scores = np.array([[0.1, 0.6, 0.3, 0.6]], "float32")
    assert [index for index, _ in best(scores, 3)] == [1, 3, 2]
    assert best(scores.reshape(4, 1, 1), 9)[0] == (1, pytest.approx(0.6))
    path = tmp_path / "labels.txt"
    path.write_text("n01 a, b\nn02 c\n")
    assert read_labels(path, 2) == ["n01 a, b", "n02 c"]
    with pytest.raises(ValueError, match=r"labels.txt names 2 classes, the net has 10"):
        read_labels(path, 10)


def test_what_is_no_image_is_named(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no image")
    with pytest.raises(ValueError, match=r"notes.txt: 8 bytes are not an image"):
        Preparation((3, 4, 4))(path)


def test_sizes():
    assert size_of("256") == (256, 256)
    assert size_of("240,320") == (240, 320)
    with pytest.raises(argparse.ArgumentTypeError):
        size_of("256x256")
