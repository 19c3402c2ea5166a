"""Lists of images become the records of Caffe's convert_imageset."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from caffe2k.cli import main
from caffe2k.schema.caffe_pb2 import Datum
from tests.datasets.making import image_file, parsed, picture, read_lmdb

COLOR = picture(0, 7, 9, 3)
GRAY = picture(1, 7, 9)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "one two.PNG").write_bytes(image_file(COLOR, "png"))
    (folder / "gray.jpeg").write_bytes(image_file(GRAY, "jpg"))
    (tmp_path / "train.txt").write_text("cats/one two.PNG 3\ngray.jpeg -2\n")
    return tmp_path


def convert(folder: Path, *options: str, name: str = "out") -> dict[bytes, Datum]:
    args = [folder / "train.txt", folder / name, "--to", "lmdb"]
    result = CliRunner().invoke(
        main,
        [
            "data",
            "convert",
            *map(str, args),
            "--root",
            str(folder / "images"),
            *options,
        ],
    )
    assert result.exit_code == 0, result.output
    return parsed(read_lmdb(folder / name))


def test_raw_values(images: Path) -> None:
    found = convert(images)
    assert list(found) == [b"00000000_cats/one two.PNG", b"00000001_gray.jpeg"]
    first, second = found.values()
    assert first == Datum(
        channels=3,
        height=7,
        width=9,
        data=COLOR.transpose(2, 0, 1).tobytes(),
        label=3,
        encoded=False,
    )
    assert (second.channels, second.label) == (3, -2)


def test_gray(images: Path) -> None:
    first, second = convert(images, "--gray").values()
    path = str(images / "images" / "cats" / "one two.PNG")
    assert first.data == cv2.imread(path, cv2.IMREAD_GRAYSCALE).tobytes()
    path = str(images / "images" / "gray.jpeg")
    assert second.data == cv2.imread(path, cv2.IMREAD_GRAYSCALE).tobytes()
    assert second.channels == 1


def test_resize(images: Path) -> None:
    first, _ = convert(images, "--resize-height", "4", "--resize-width", "5").values()
    expected = cv2.resize(COLOR, (5, 4)).transpose(2, 0, 1)
    assert (first.channels, first.height, first.width) == expected.shape
    assert first.data == expected.tobytes()


def test_encoded_keeps_the_files(images: Path) -> None:
    first, second = convert(images, "--encoded").values()
    assert first == Datum(
        data=(images / "images/cats/one two.PNG").read_bytes(), label=3, encoded=True
    )
    assert second.data == (images / "images/gray.jpeg").read_bytes()


def test_encode_type(images: Path) -> None:
    first, second = convert(images, "--encode-type", "jpg").values()
    assert first.data == image_file(COLOR, "jpg")
    assert second.data == (images / "images/gray.jpeg").read_bytes()
    assert second.encoded


def test_resized_images_are_encoded_anew(images: Path) -> None:
    size = ("--resize-height", "4", "--resize-width", "5")
    first, _ = convert(images, "--encoded", *size).values()
    assert first.data == image_file(cv2.resize(COLOR, (5, 4)), "png")


def test_shuffle_numbers_the_new_order(images: Path) -> None:
    lines = [f"gray.jpeg {label}" for label in range(30)]
    (images / "train.txt").write_text("\n".join(lines))
    found = convert(images, "--shuffle")
    labels = [datum.label for datum in found.values()]
    assert labels != sorted(labels)
    assert sorted(labels) == list(range(30))
    assert next(iter(found)) == b"00000000_gray.jpeg"
    again = convert(images, "--shuffle", name="again")
    assert again == found
    other = convert(images, "--shuffle", "--seed", "1", name="other")
    assert other != found


def test_lines_are_split_as_caffe_does(images: Path) -> None:
    (images / "images" / "12").write_bytes(image_file(COLOR, "png"))
    (images / "train.txt").write_text("gray.jpeg 7x\n12\ngray.jpeg \t+5")
    labels = [datum.label for datum in convert(images).values()]
    assert labels == [7, 12, 5]


def test_check_size(images: Path) -> None:
    (images / "images/gray.jpeg").write_bytes(image_file(picture(0, 3, 3), "jpg"))
    args = [images / "train.txt", images / "out", "--to", "lmdb", "--check-size"]
    args += ["--root", images / "images"]
    result = CliRunner().invoke(main, ["data", "convert", *map(str, args)])
    assert result.exit_code == 1
    assert "record `00000001_gray.jpeg`: its shape is (3, 3, 3)" in result.stderr
    assert not (images / "out").exists()


def test_names_beside_the_list_need_no_root(images: Path, monkeypatch) -> None:
    (images / "images" / "list.txt").write_text("gray.jpeg 1\n")
    args = [images / "images", images / "out", "--to", "lmdb"]
    result = CliRunner().invoke(main, ["data", "convert", *map(str, args)])
    assert result.exit_code == 0, result.output
    assert len(read_lmdb(images / "out")) == 1


def test_the_first_image_may_be_missing(images: Path) -> None:
    (images / "images" / "list.txt").write_text("gone.png 1\n./gray.jpeg 1\n")
    args = [images / "images", images / "out", "--to", "lmdb", "--skip-bad"]
    result = CliRunner().invoke(main, ["data", "convert", *map(str, args)])
    assert result.exit_code == 0, result.output
    assert list(read_lmdb(images / "out")) == [b"00000001_./gray.jpeg"]


def test_no_image_is_there(images: Path) -> None:
    args = [str(images / "train.txt"), str(images / "out"), "--to", "lmdb"]
    result = CliRunner().invoke(main, ["data", "convert", *args])
    assert result.exit_code == 1
    assert "one two.PNG`, named in" in result.stderr
    assert "--root" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resize-height", "3"], "go together"),
        (["--seed", "0"], "--seed is about --shuffle"),
        (["--shards", "3"], "--shards is about --to tfrecord"),
    ],
)
def test_options_that_would_be_ignored(
    images: Path, options: list[str], message: str
) -> None:
    args = [str(images / "train.txt"), str(images / "out"), "--to", "lmdb", *options]
    result = CliRunner().invoke(main, ["data", "convert", *args])
    assert result.exit_code == 2
    assert message in result.stderr


def test_options_of_lists_do_not_fit_a_database(images: Path) -> None:
    convert(images)
    args = [str(images / "out"), str(images / "again"), "--to", "leveldb", "--gray"]
    result = CliRunner().invoke(main, ["data", "convert", *args])
    assert result.exit_code == 2
    assert "--gray is about lists of images" in result.stderr


def test_without_opencv_pillow_decodes_and_says_so(images: Path, monkeypatch) -> None:
    from caffe2k.datasets import images as module

    monkeypatch.setattr(module, "opencv", lambda: None)
    args = [images / "train.txt", images / "out", "--to", "lmdb"]
    args += ["--root", images / "images"]
    result = CliRunner().invoke(main, ["data", "convert", *map(str, args)])
    assert result.exit_code == 0, result.output
    assert "warning[without-opencv]" in result.stderr
    first, second = parsed(read_lmdb(images / "out")).values()
    assert first.data == COLOR.transpose(2, 0, 1).tobytes()
    assert np.frombuffer(second.data, np.uint8).reshape(3, 7, 9).std(0).max() == 0
