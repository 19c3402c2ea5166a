"""transform_param: what is cropped, mirrored, subtracted and scaled, and in what order."""

import numpy as np
import pytest

from caffe2k.runtime.transform import Transformer, load_mean

RANDOM = np.random.default_rng(0)
IMAGES = list(RANDOM.integers(0, 256, (6, 3, 7, 8), np.uint8))
MEAN = RANDOM.uniform(0, 255, (3, 7, 8)).astype(np.float32)


def apply(transform, images, seed=1):
    """A batch of transformed images, in Caffe's axis order."""
    shape = transform.output_shape(images[0].shape)
    batch = np.empty((len(images), *shape[1:], shape[0]), np.float32)
    chances = transform.draw(np.random.default_rng(seed), len(images))
    for target, image, chance in zip(batch, images, chances, strict=True):
        transform.into(target, image, chance)
    return np.moveaxis(batch, -1, 1)


def test_nothing_to_do():
    batch = apply(Transformer("TRAIN"), IMAGES)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, np.stack(IMAGES))


def test_the_mean_goes_before_the_scale_in_float32():
    scale = np.float32(0.017)
    batch = apply(Transformer("TEST", scale=0.017, mean=MEAN), IMAGES)
    np.testing.assert_array_equal(batch, (np.stack(IMAGES) - MEAN) * scale)


@pytest.mark.parametrize("values", [[104], [104, 117, 123.5]])
def test_mean_values(values):
    batch = apply(Transformer("TEST", scale=2, mean_values=values), IMAGES)
    means = np.float32(values)[:, None, None]
    np.testing.assert_array_equal(batch, (np.stack(IMAGES) - means) * np.float32(2))


def test_the_centre_crop_rounds_down_and_crops_the_mean_with_it():
    batch = apply(Transformer("TEST", crop_size=4, mean=MEAN), IMAGES)
    whole = np.stack(IMAGES) - MEAN
    np.testing.assert_array_equal(batch, whole[:, :, 1:5, 2:6])


def windows(batch, whole, size):
    """For each image of the batch: all (top, left, flipped) that explain it."""
    for image, full in zip(batch, whole, strict=True):
        yield {
            (top, left, flipped)
            for top in range(full.shape[1] - size + 1)
            for left in range(full.shape[2] - size + 1)
            for flipped in (False, True)
            if np.array_equal(
                image,
                full[:, top : top + size, left : left + size][:, :, :: 1 - 2 * flipped],
            )
        }


def test_random_crops_and_mirrors_with_their_part_of_the_mean():
    images = [IMAGES[i % 6] for i in range(200)]
    transform = Transformer("TRAIN", crop_size=5, mirror=True, mean=MEAN)
    seen = set()
    for found in windows(apply(transform, images), np.stack(images) - MEAN, 5):
        assert len(found) == 1
        seen |= found
    # Each of the 3 x 4 places, both ways round.
    assert len(seen) == 24


def test_test_phase_mirrors_but_does_not_move_the_crop():
    transform = Transformer("TEST", crop_size=5, mirror=True)
    images = IMAGES * 4
    found = set().union(*windows(apply(transform, images), np.stack(images), 5))
    assert found == {(1, 1, False), (1, 1, True)}


def test_the_same_seed_draws_the_same():
    transform = Transformer("TRAIN", crop_size=3, mirror=True)
    first, same, other = (apply(transform, IMAGES, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_a_crop_makes_images_of_any_size_fit():
    images = [IMAGES[0], IMAGES[1][:, :5, :6]]
    batch = apply(Transformer("TEST", crop_size=4), images)
    np.testing.assert_array_equal(batch[0], IMAGES[0][:, 1:5, 2:6])
    np.testing.assert_array_equal(batch[1], IMAGES[1][:, 0:4, 1:5])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop_size": 8}, "crop_size 8 is larger than an image of 7 x 8"),
        ({"mean": MEAN[:, 1:]}, "the mean has shape"),
        ({"mean_values": [1, 2]}, "2 mean_value for 3 channels"),
    ],
)
def test_what_does_not_fit_the_images(settings, words):
    with pytest.raises(ValueError, match=words):
        apply(Transformer("TEST", **settings), IMAGES)


@pytest.mark.parametrize("other", [IMAGES[0][:, 1:], IMAGES[0][:1]])
def test_images_that_do_not_fit_each_other(other):
    with pytest.raises(ValueError, match="in a batch of"):
        apply(Transformer("TEST"), [IMAGES[0], other])


def test_settings_that_exclude_each_other():
    with pytest.raises(ValueError, match="mean_file and mean_value"):
        Transformer("TEST", mean=MEAN, mean_values=[1])
    with pytest.raises(ValueError, match="force_color and force_gray"):
        print(Transformer("TEST", force_color=True, force_gray=True).decode_as_color)


def test_channels_of_encoded_images():
    assert Transformer("TEST").decode_as_color is None
    assert Transformer("TEST", force_color=True).decode_as_color is True
    assert Transformer("TEST", force_gray=True).decode_as_color is False


def test_the_mean_is_loaded_or_named(tmp_path):
    np.save(tmp_path / "mean.npy", MEAN)
    np.testing.assert_array_equal(load_mean(tmp_path / "mean.npy", "net:3"), MEAN)
    with pytest.raises(FileNotFoundError, match="the mean_file that net:3 names"):
        load_mean(tmp_path / "none.npy", "net:3")
