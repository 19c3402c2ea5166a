"""Crops, mirrors and orders by chance: over 10,000 draws they are uniform."""

import numpy as np
import pytest

from caffe2k.runtime.reading import Reading
from caffe2k.runtime.transform import Transformer

DRAWS, BATCH = 10_000, 50
# What chi-square exceeds once in a million times, by degrees of freedom.
LIMITS = {1: 23.9, 5: 36.0, 6: 38.3, 23: 72.5, 34: 89.9}


def chi_square(values, kinds):
    counts = np.bincount(values, minlength=kinds)
    expected = len(values) / kinds
    return ((counts - expected) ** 2 / expected).sum()


def places(seed):
    """For each of 10,000 images, what was drawn: (flip, top, left)."""
    transform = Transformer("TRAIN", crop_size=3, mirror=True)
    image = np.arange(8 * 9, dtype=np.uint8).reshape(1, 8, 9)
    found = []
    for number in range(DRAWS // BATCH):
        rng = Reading(seed).draws(number)
        for chance in transform.draw(rng, BATCH):
            target = np.empty((3, 3, 1), np.float32)
            transform.into(target, image, chance)
            first, second = target[0, :2, 0]
            flip = int(second < first)
            top, left = divmod(int(target[0, 2 if flip else 0, 0]), 9)
            found.append((flip, top, left))
    return np.array(found)


@pytest.fixture(scope="module")
def drawn():
    return places(1701)


def test_offsets_and_flips_are_uniform(drawn):
    flip, top, left = drawn.T
    assert chi_square(flip, 2) < LIMITS[1]
    assert chi_square(top, 6) < LIMITS[5]
    assert chi_square(left, 7) < LIMITS[6]


def test_they_are_independent(drawn):
    """Each pair of them is uniform too."""
    flip, top, left = drawn.T
    assert chi_square((flip * 12 + top * 2 + left // 3)[left < 6], 24) < LIMITS[23]
    assert chi_square((top * 7 + left)[top < 5], 35) < LIMITS[34]


def test_one_image_follows_another_by_chance(drawn):
    flip = drawn[:, 0]
    assert abs(np.corrcoef(flip[1:], flip[:-1])[0, 1]) < 0.05


def test_the_seed_fixes_them(drawn):
    np.testing.assert_array_equal(places(1701), drawn)
    assert (places(1702) != drawn).any()


def test_the_first_of_a_shuffled_round_is_uniform():
    reading = Reading(7)
    first = np.array([reading.order(turn, 24)[0] for turn in range(DRAWS)])
    assert chi_square(first, 24) < LIMITS[23]
