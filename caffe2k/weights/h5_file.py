"""HDF5 files with plain float32 data sets, which are laid out first and filled then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py

from caffe2k.weights.plan import LazyArray
from caffe2k.weights.slabs import Placed, write_values
from caffe2k.weights.whole_file import OnProgress, whole_file


class Places:
    """The data sets of a file, and where in it each one's values go."""

    def __init__(self) -> None:
        self._placed: list[Placed] = []

    def allocate(self, group: h5py.Group, array: LazyArray) -> None:
        """Creates a data set without values, called after the array."""
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.CONTIGUOUS)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        # The time would make every file another one.
        layout.set_obj_track_times(False)
        space = h5py.h5s.create_simple(array.shape)
        dataset = h5py.h5d.create(group.id, None, h5py.h5t.IEEE_F32LE, space, layout)
        group[array.name] = h5py.Dataset(dataset)
        offset: int | None = dataset.get_offset()
        if offset is not None:
            self._placed.append((offset, array))

    def fill(self, path: Path, on_progress: OnProgress | None) -> None:
        """Puts all values in their places in the file at `path`."""
        with open(path, "r+b") as file:
            write_values(file, self._placed, on_progress)


def write_h5(
    path: Path,
    lay_out: Callable[[h5py.File, Places], None],
    *,
    force: bool,
    on_progress: OnProgress | None,
) -> None:
    """Writes the file that `lay_out` makes the groups and data sets of.

    Raises WeightsError as `whole_file` does.
    """
    with whole_file(path, force=force) as temporary:
        places = Places()
        with h5py.File(temporary, "w") as file:
            lay_out(file, places)
        places.fill(temporary, on_progress)
