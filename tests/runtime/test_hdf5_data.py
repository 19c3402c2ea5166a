"""HDF5Data: rows across files, shuffling, and files that do not fit."""

import h5py
import numpy as np
import pytest

from caffe2k.runtime.hdf5_data import HDF5Reader
from caffe2k.runtime.reading import Reading


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def rows(start, count):
    ids = np.arange(start, start + count)
    return {"data": np.stack([ids, -ids], 1).astype(np.float64), "label": ids}


@pytest.fixture
def two_files(tmp_path):
    write(tmp_path / "a.h5", **rows(0, 3))
    write(tmp_path / "b.h5", **rows(3, 4))
    source = tmp_path / "list.txt"
    source.write_bytes(b"a.h5\r\n  b.h5\n")
    return source


def reader(source, size, tops=("data", "label"), **settings):
    return HDF5Reader(source, size, tops, root=source.parent, **settings)


def labels(batches, count):
    return [next(batches)["label"].astype(int).tolist() for _ in range(count)]


def test_rows_go_through_the_files_and_round_again(two_files):
    batches = iter(reader(two_files, 5))
    first = next(batches)
    assert first["data"].dtype == first["label"].dtype == np.float32
    np.testing.assert_array_equal(first["data"][:, 1], [0, -1, -2, -3, -4])
    assert labels(batches, 3) == [[5, 6, 0, 1, 2], [3, 4, 5, 6, 0], [1, 2, 3, 4, 5]]


def test_a_batch_may_be_larger_than_all_files(two_files):
    assert labels(iter(reader(two_files, 16)), 1) == [[*range(7), *range(7), 0, 1]]


def test_one_file(tmp_path, two_files):
    two_files.write_text("b.h5")
    assert labels(iter(reader(two_files, 3)), 2) == [[3, 4, 5], [6, 3, 4]]


def test_shuffling_keeps_files_together_and_rows_whole(two_files):
    shuffled = reader(two_files, 7, shuffle=True)
    orders = []
    for number in range(20):
        batch = shuffled.batch(number, Reading(seed=0))
        order = batch["label"].astype(int).tolist()
        np.testing.assert_array_equal(batch["data"][:, 0], batch["label"])
        assert sorted(order) == list(range(7))
        first = 3 if 0 in order[:3] else 4
        assert sorted(order[:first]) in ([0, 1, 2], [3, 4, 5, 6])
        orders.append(tuple(order))
    assert len(set(orders)) > 15
    assert {order[0] < 3 for order in orders} == {True, False}


def test_shuffling_one_file_draws_a_new_order_each_round(two_files):
    two_files.write_text("b.h5")
    shuffled = reader(two_files, 4, shuffle=True)
    batches = [shuffled.batch(number, Reading(seed=0)) for number in range(20)]
    orders = {tuple(batch["label"]) for batch in batches}
    assert len(orders) > 5


def test_missing_files_are_named_before_training(two_files):
    two_files.write_text("a.h5\nnone.h5\n")
    with pytest.raises(FileNotFoundError, match=r"'none.h5', named in .*list.txt:2"):
        reader(two_files, 1)


def test_an_empty_list(two_files):
    two_files.write_text("\n")
    with pytest.raises(ValueError, match="lists no HDF5 files"):
        reader(two_files, 1)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"data": np.ones((2, 2))}, "no array of numbers 'label': it has"),
        ({"data": np.ones((2, 2)), "label": [b"a", b"b"]}, "no array of numbers"),
        ({"data": np.ones((2, 2)), "label": 3.0}, "no array of numbers"),
        ({"data": np.ones((2, 2)), "label": [True, False]}, "no array of numbers"),
        ({"data": np.ones((2, 2)), "label/x": [1, 2]}, "no array of numbers"),
        ({"data": np.ones((2, 2)), "label": [1.0]}, "the numbers of rows differ"),
        ({"data": np.ones((0, 2)), "label": np.ones(0)}, "holds no rows"),
    ],
)
def test_files_that_do_not_hold_the_tops(two_files, arrays, words):
    (two_files.parent / "a.h5").unlink()
    write(two_files.parent / "a.h5", **arrays)
    with pytest.raises(ValueError, match=words):
        reader(two_files, 1)


def test_a_later_file_with_other_rows(two_files):
    write(two_files.parent / "b.h5", data=np.ones((2, 3)), label=np.ones(2))
    with pytest.raises(ValueError, match=r"b.h5: rows of 'data' have shape \(3,\)"):
        reader(two_files, 3)


def test_a_file_that_is_no_hdf5(two_files):
    (two_files.parent / "b.h5").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"b.h5 cannot be read as HDF5: "):
        reader(two_files, 1)


def test_a_file_that_is_damaged_while_it_is_read(two_files):
    batches = iter(reader(two_files, 3))
    next(batches)
    (two_files.parent / "b.h5").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"b.h5 cannot be read as HDF5: "):
        next(batches)
