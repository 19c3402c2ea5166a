"""The .h5 file: Keras's legacy layout, written whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from caffe2k.weights import slabs
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.h5 import write_legacy_h5
from caffe2k.weights.plan import KerasLayer, LazyArray

Array = npt.NDArray[np.float32]

RNG = np.random.default_rng(0)


def weight(name: str, array: Array) -> LazyArray:
    return LazyArray(name, array.shape, lambda: array)


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape, np.float32)


KERNEL, BIAS = floats(5, 4, 3, 2).transpose(2, 3, 1, 0), floats(5)
LAYERS = (
    KerasLayer("conv1", (weight("kernel", KERNEL), weight("bias", BIAS))),
    KerasLayer("2nd layer", (weight("scale", floats(1).reshape(())),)),
    KerasLayer("none", (weight("empty", floats(0, 3)),)),
)


def names_of(group: h5py.Group, attribute: str) -> list[str]:
    """The names as Keras reads them."""
    numbered = [f"{attribute}{number}" for number in range(len(group.attrs))]
    chunks = [key for key in [attribute, *numbered] if key in group.attrs]
    return [name.decode() for key in chunks for name in group.attrs[key]]


def test_the_layout_is_kerass(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_legacy_h5(path, LAYERS)
    with h5py.File(path) as file:
        assert names_of(file, "layer_names") == ["conv1", "2nd layer", "none"]
        assert file.attrs["keras_version"] == "3.0.0"
        for layer in LAYERS:
            group = file[layer.name]
            assert names_of(group, "weight_names") == [w.name for w in layer.weights]
            for written in layer.weights:
                dataset = group[written.name]
                assert dataset.dtype == np.float32
                assert dataset.shape == written.shape
                assert dataset[()].tobytes() == written.array().tobytes()


@pytest.mark.parametrize("slab", [4, 100, 500, 10**6])
def test_slabs_of_any_size_give_the_same_file(
    slab: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "_SLAB_BYTES", slab)
    path = tmp_path / "x.h5"
    write_legacy_h5(path, LAYERS)
    with h5py.File(path) as file:
        assert np.array_equal(file["conv1/kernel"], KERNEL)
        assert np.array_equal(file["conv1/bias"], BIAS)


def test_values_may_come_in_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    flat = LazyArray("kernel", (6, 20), lambda: KERNEL)
    write_legacy_h5(path, [KerasLayer("ip", (flat,))])
    with h5py.File(path) as file:
        assert np.array_equal(file["ip/kernel"], KERNEL.reshape(6, 20))


def test_unaligned_values_are_written(tmp_path: Path) -> None:
    """Views of a mapped caffemodel begin at any byte."""
    buffer = memoryview(b"\0" + floats(50).tobytes())
    values: Array = np.ndarray((50,), "<f4", buffer, 1)
    assert not values.flags.aligned
    write_legacy_h5(tmp_path / "x.h5", [KerasLayer("a", (weight("w", values),))])
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["a/w"][()].tobytes() == buffer[1:].tobytes()


def test_long_name_lists_are_cut_into_chunks(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    names = [f"{i:03}" + "n" * 10_000 for i in range(40)]
    write_legacy_h5(path, [KerasLayer(name, (weight("w", BIAS),)) for name in names])
    with h5py.File(path) as file:
        assert "layer_names" not in file.attrs
        assert names_of(file, "layer_names") == names


def test_a_file_without_layers_is_a_file(tmp_path: Path) -> None:
    write_legacy_h5(tmp_path / "x.h5", [])
    with h5py.File(tmp_path / "x.h5") as file:
        assert names_of(file, "layer_names") == []


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_legacy_h5(
        tmp_path / "x.h5", LAYERS, on_progress=lambda *now: seen.append(now)
    )
    total = 4 * (KERNEL.size + BIAS.size + 1)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {of for _, of in seen} == {total}
    assert seen[-1][0] == total


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(b"old")
    with pytest.raises(WeightsError) as error:
        write_legacy_h5(path, LAYERS)
    assert str(error.value) == (
        f"error[output-exists]: `{path}` exists\n  = help: overwrite it with --force"
    )
    assert path.read_bytes() == b"old"
    write_legacy_h5(path, LAYERS, force=True)
    assert h5py.is_hdf5(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["x.weights.h5", "x.keras", "x"])
def test_names_that_keras_does_not_load_by_name_are_refused(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError) as error:
        write_legacy_h5(tmp_path / name, LAYERS)
    assert str(error.value) == (
        "error[output-name]: Keras loads no weights by layer name from a file called "
        f"`{name}`\n  = help: call it .h5, but not .weights.h5"
    )


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        write_legacy_h5(tmp_path / "no" / "x.h5", LAYERS)
    assert str(error.value) == (
        f"error[output-unwritable]: can't write `{tmp_path}/no/x.h5`: "
        "No such file or directory\n"
        "  = help: its folder must exist, and be yours to write to"
    )


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left")])
def test_a_failed_write_leaves_the_old_file_alone(
    failure: type[BaseException] | OSError, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(b"old")

    def fail(done: int, total: int) -> None:
        raise failure

    with pytest.raises((KeyboardInterrupt, WeightsError)):
        write_legacy_h5(path, LAYERS, force=True, on_progress=fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from caffe2k.weights.h5 import write_legacy_h5\n"
        "from caffe2k.weights.plan import KerasLayer, LazyArray\n"
        "weight = LazyArray('w', (9,), lambda: np.ones(9, np.float32))\n"
        "kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_legacy_h5(Path(sys.argv[1]), [KerasLayer('a', (weight,))],"
        " force=True, on_progress=kill)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, os.fspath(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_weight_of_another_size_is_refused(tmp_path: Path) -> None:
    wrong = LazyArray("w", (3,), lambda: BIAS)
    with pytest.raises(ValueError, match="has 5 values"):
        write_legacy_h5(tmp_path / "x.h5", [KerasLayer("a", (wrong,))])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_keras_loads_the_file_by_name(tmp_path: Path) -> None:
    """A permuted dense kernel, long names, and order: trainable, then the others."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    long_names = [f"n{i}" + "x" * 5000 for i in range(20)]
    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Conv2D(3, 2, name="conv 1.a"),
            layers.BatchNormalization(name="bn"),
            layers.Flatten(),
            layers.Dense(2, name="ip"),
            *(layers.Dense(2, name=name) for name in long_names),
        ]
    )
    given = {
        "conv 1.a": [floats(2, 2, 2, 3), floats(3)],
        "bn": [floats(3), floats(3), floats(3), floats(3)],
        **{name: [floats(2, 2), floats(2)] for name in long_names},
    }
    untouched = model.get_layer("ip").get_weights()
    write_legacy_h5(
        tmp_path / "x.h5",
        [
            KerasLayer(
                name, tuple(weight(f"w{i}", array) for i, array in enumerate(arrays))
            )
            for name, arrays in given.items()
        ],
    )
    model.load_weights(tmp_path / "x.h5", by_name=True)
    for name, arrays in given.items():
        got = model.get_layer(name).get_weights()
        assert all(map(np.array_equal, got, arrays)), name
    assert all(map(np.array_equal, model.get_layer("ip").get_weights(), untouched))
