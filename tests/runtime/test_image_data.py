"""ImageData: reading the list, resizing, shuffling, skipping, and unreadable images."""

import cv2
import numpy as np
import pytest

from caffe2k.runtime.image_data import ImageListReader
from caffe2k.runtime.readers import Batches
from caffe2k.runtime.transform import Transformer


@pytest.fixture
def source(tmp_path):
    """Four images, each of one grey level, which is ten times its label."""
    lines = []
    for i in range(4):
        name = f"image {i}.png"
        cv2.imwrite(str(tmp_path / name), np.full((4, 6, 3), 10 * i, np.uint8))
        lines.append(f"{name} {i}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    return tmp_path / "list.txt"


def reader(source, size, transform=None, **settings):
    tops = ["data", "label"]
    return ImageListReader(
        source, size, tops, transform, root=source.parent, **settings
    )


def seeded(reader, seed):
    """What the reader gives under a seed."""
    stream = Batches([reader], {top: top for top in reader.tops}, seed=seed)
    return (x for (x,) in stream)


def labels(batches, count):
    return [next(batches)["label"].astype(int).tolist() for _ in range(count)]


def test_batches_wrap(source):
    batches = iter(reader(source, 3))
    first = next(batches)
    assert first["data"].shape == (3, 3, 4, 6)
    np.testing.assert_array_equal(first["data"][:, 0, 0, 0], [0, 10, 20])
    assert labels(batches, 2) == [[3, 0, 1], [2, 3, 0]]


def test_grey_resized_and_transformed(source):
    transform = Transformer("TEST", crop_size=2, mean_values=[5])
    settings = {"is_color": False, "new_height": 8, "new_width": 3}
    batch = next(iter(reader(source, 2, transform, **settings)))
    assert batch["data"].shape == (2, 1, 2, 2)
    np.testing.assert_array_equal(batch["data"][:, 0, 0, 0], [-5, 5])


def test_colours_are_bgr(source):
    cv2.imwrite(str(source.parent / "c.png"), np.uint8([[[1, 2, 3]]]))
    source.write_text("c.png 0\n")
    assert next(iter(reader(source, 1)))["data"].ravel().tolist() == [1, 2, 3]


def test_root_folder_is_put_before_the_name_as_it_is(source):
    (source.parent / "folder").mkdir()
    for i in range(4):
        image = source.parent / f"image {i}.png"
        image.rename(source.parent / "folder" / f"an image {i}.png")
    next(iter(reader(source, 4, root_folder="folder/an ")))


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("image 1.png 7", 7),
        ("image 1.png -3", -3),
        ("image 1.png +3", 3),
        ("image 1.png 5\r", 5),
        ("image 1.png 5.9", 5),
        ("image 1.png seven", 0),
    ],
)
def test_labels_are_read_as_caffe_reads_them(source, line, label):
    source.write_bytes(line.encode())
    assert labels(iter(reader(source, 1)), 1) == [[label]]


def test_a_line_without_a_label_is_a_name(source):
    (source.parent / "image 1.png").rename(source.parent / "1.png")
    source.write_text("1.png\n")
    # As in Caffe, whose atoi reads the number that the name begins with.
    assert labels(iter(reader(source, 1)), 1) == [[1]]


def test_shuffling_draws_a_new_order_each_round(source):
    batches = seeded(reader(source, 4, shuffle=True), 0)
    orders = labels(batches, 12)
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len(set(map(tuple, orders))) > 5


def test_rand_skip_happens_once(source):
    starts = set()
    for seed in range(20):
        skipping = seeded(reader(source, 1, rand_skip=3), seed)
        order = [label for (label,) in labels(skipping, 6)]
        assert order == [(order[0] + i) % 4 for i in range(6)]
        starts.add(order[0])
    assert starts == {0, 1, 2}


def test_too_few_images_to_skip(source):
    source.write_text("image 1.png 1\n")
    with pytest.raises(ValueError, match="1 images, too few to skip"):
        seeded(reader(source, 1, rand_skip=1000), 0)


def test_one_side_alone_is_refused(source):
    with pytest.raises(ValueError, match="new_height and new_width together"):
        reader(source, 1, new_height=3)


def test_unreadable_images(source):
    (source.parent / "image 0.png").unlink()
    with pytest.raises(ValueError, match=r"list.txt:1, image 'image 0.png': no file /"):
        iter(reader(source, 1))
    (source.parent / "image 0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="not an image"):
        iter(reader(source, 1))


def test_an_empty_list(source):
    source.write_text("")
    with pytest.raises(ValueError, match="lists no images"):
        reader(source, 1)
