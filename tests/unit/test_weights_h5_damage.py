"""HDF5 files and archives that lead their reader astray: links, circles, other types."""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.weights.caffemodel import read_caffemodel
from caffe2k.weights.contents import read_contents
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.h5_walk import find_heaps
from caffe2k.weights.keras_files import read_keras_file
from caffe2k.weights.solverstate import read_solverstate
from tests.unit.weight_files import code_of, keras_h5, one_layer, shared_h5


def behind_a_soft_link(file: h5py.File, place: str) -> None:
    file.create_group("hidden")["other"] = h5py.ExternalLink("other.h5", "/")
    file[place] = h5py.SoftLink("/hidden/other/ip")


def in_a_soft_links_file(file: h5py.File) -> None:
    behind_a_soft_link(file, "data/a")


def in_a_states_history(file: h5py.File) -> None:
    file["iter"], file["current_step"] = 1, 0
    file.create_group("history")["0"] = h5py.ExternalLink("other.h5", "/ip/kernel")


def in_a_listed_layer(file: h5py.File) -> None:
    file.attrs["layer_names"] = [b"ip"]
    file.create_group("ip").attrs["weight_names"] = [b"kernel"]
    file["ip/kernel"] = h5py.ExternalLink("other.h5", "/ip/kernel")


def in_a_whole_model(file: h5py.File) -> None:
    file.create_group("model_weights").attrs["layer_names"] = [b"ip"]
    behind_a_soft_link(file, "model_weights/ip")


def in_saved_weights(file: h5py.File) -> None:
    group = file.create_group("layers/dense/vars")
    group.attrs["name"] = "ip"
    group["0"] = h5py.ExternalLink("other.h5", "/ip/kernel")


@pytest.mark.parametrize(
    "write",
    [
        in_a_soft_links_file,
        in_a_states_history,
        in_a_listed_layer,
        in_a_whole_model,
        in_saved_weights,
    ],
)
def test_no_link_leads_to_another_file(
    write: Callable[[h5py.File], None], tmp_path: Path
) -> None:
    """Its offsets would be taken for those of this file: other values, silently."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        one_layer(file, "ip")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        write(file)
    with pytest.raises(WeightsError, match="stands in another file"):
        read_contents(tmp_path / "x.h5")


def test_values_that_were_never_written_take_no_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data/a/0", (2**24,), "f4", chunks=(2**15,))[0] = 1
    with pytest.raises(WeightsError, match="is not stored in the file"):
        read_caffemodel(tmp_path / "x.h5")


def test_a_solvers_numbers_are_not_larger_than_their_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("iter", (2**28,), "i4", chunks=(2**20,))
        file.create_group("history")
    with pytest.raises(WeightsError, match="is not stored in the file"):
        read_contents(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("index", "size"), [(0, 0), (1, 2**64 - 16), (1, 2**64 - 32), (1, 2**20)]
)
@pytest.mark.parametrize("name", ["x.weights.h5", "x.keras"])
def test_a_heap_of_strings_without_end_is_damaged(
    name: str, index: int, size: int, tmp_path: Path
) -> None:
    """libhdf5 would never come back, whatever signal is sent."""
    keras_h5(tmp_path / "x.weights.h5")
    data = bytearray((tmp_path / "x.weights.h5").read_bytes())
    first = data.index(b"GCOL") + 16
    struct.pack_into("<H6xQ", data, first, index, size)
    (tmp_path / "x.weights.h5").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.write(tmp_path / "x.weights.h5", "model.weights.h5")
    with pytest.raises(WeightsError, match="a heap without end"):
        read_contents(tmp_path / name)


def test_a_virtual_data_set_has_a_heap_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "a", (3,))
        file.create_virtual_dataset("data/a/0", layout)
    data = bytearray((tmp_path / "x.h5").read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 5 : heap + 8] = b"xxx"  # libhdf5 doesn't look there
    data[heap + 16 : heap + 32] = bytes(16)
    (tmp_path / "x.h5").write_bytes(data)
    with pytest.raises(WeightsError, match="a heap without end"):
        read_caffemodel(tmp_path / "x.h5")


def test_a_heap_of_names_in_a_circle_is_damaged(tmp_path: Path) -> None:
    shared_h5(tmp_path / "x.h5")
    data = bytearray((tmp_path / "x.h5").read_bytes())
    heap = data.index(b"HEAP")
    _, free, address = struct.unpack_from("<QQQ", data, heap + 8)
    struct.pack_into("<Q", data, address + free, free)
    (tmp_path / "x.h5").write_bytes(data)
    for read in (read_contents, read_caffemodel, read_solverstate):
        with pytest.raises(WeightsError, match="a heap without end"):
            read(tmp_path / "x.h5")


def test_a_list_that_comes_back_to_its_names_is_damaged(tmp_path: Path) -> None:
    shared_h5(tmp_path / "x.h5")
    data = bytearray((tmp_path / "x.h5").read_bytes())
    tree = data.index(b"TREE")
    first, last = (data[tree + at : tree + at + 8] for at in (32, 40))
    data[tree + 6] = 2
    data[tree + 48 : tree + 64] = first + last
    (tmp_path / "x.h5").write_bytes(data)
    with pytest.raises(WeightsError, match="holds a name twice"):
        read_contents(tmp_path / "x.h5")


def test_what_is_no_name_is_not_read(tmp_path: Path) -> None:
    """libhdf5 crashes on some of what a damaged file has there."""
    keras_h5(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        group = file["layers/dense/vars"]
        group.attrs["name"] = [1, 2]
    with pytest.raises(WeightsError, match="`name` of `/layers/dense/vars` is no text"):
        read_keras_file(tmp_path / "x.h5")


def archive_with(path: Path, compression: int, flags: int) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model.weights.h5", b"x" * 1000)
    data = bytearray(path.read_bytes())
    data[6] |= flags
    data[data.index(b"PK\1\2") + 8] |= flags
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("compression", "flags"),
    [(zipfile.ZIP_STORED, 1), (zipfile.ZIP_DEFLATED, 1), (zipfile.ZIP_LZMA, 0)],
)
def test_an_archive_that_keras_does_not_write_is_an_error(
    compression: int, flags: int, tmp_path: Path
) -> None:
    """Such as one that says that it is encrypted."""
    archive_with(tmp_path / "x.keras", compression, flags)
    with pytest.raises(WeightsError) as error:
        read_keras_file(tmp_path / "x.keras")
    assert code_of(error) == "file-corrupt"


@pytest.mark.parametrize("write", [shared_h5, keras_h5])
def test_all_heaps_are_found(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "x.h5")
    data = (tmp_path / "x.h5").read_bytes()
    strings, names = find_heaps(memoryview(data))
    assert strings == {at.start() for at in re.finditer(b"GCOL", data)}
    assert names == {at.start() for at in re.finditer(b"HEAP", data)}


def test_values_are_no_heaps(tmp_path: Path) -> None:
    """Caffe's and Keras's files are not read as a whole; damaged ones are."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data/a/0"] = np.frombuffer(b"HEAP\0\0\0\0GCOL\1\0\0\0", "f4")
    data = bytearray((tmp_path / "x.h5").read_bytes())
    assert data.index(b"HEAP\0\0\0\0GCOL") not in find_heaps(memoryview(data)).names
    assert not find_heaps(memoryview(data)).strings
    data[data.index(b"TREE")] = 0
    assert find_heaps(memoryview(data)).strings
