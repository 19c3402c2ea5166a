"""Data layers that read TFRecord shards in the place of their databases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from caffe2k.codegen.data_layers import DataLayer, Named, ReaderLayer
from caffe2k.diagnostics import Diagnostics
from caffe2k.sources.lookup import database_name


def read_shards(
    readers: Mapping[str, tuple[DataLayer, ...]],
    folder: Path,
    root: Path,
    diagnostics: Diagnostics,
) -> dict[str, tuple[DataLayer, ...]]:
    """The readers of each phase, with shards for the databases of Data layers.

    The shards of `examples/train_lmdb` are in `folder`, as the folder train_lmdb. `root`
    is what the sources of the net are relative to. Nothing to replace is an error.
    """
    named = _from_root(folder, root)
    changed = {
        phase: tuple(_with_shards(layer, named) for layer in layers)
        for phase, layers in readers.items()
    }
    if changed == dict(readers):
        diagnostics.error(
            "no-database",
            "no layer of the net reads a database that shards could stand for",
            help="leave --tfrecord out",
        )
    return changed


def _with_shards(layer: DataLayer, folder: str) -> DataLayer:
    if not isinstance(layer, ReaderLayer) or layer.name != "DataReader":
        return layer
    assert layer.source is not None
    settings = {k: v for k, v in layer.settings.items() if k != "backend"}
    return replace(
        layer,
        module="tfrecord_data",
        name="TFRecordReader",
        source=Named(
            f"{folder}/{database_name(layer.source.path)}", layer.source.named_in
        ),
        settings=settings,
    )


def _from_root(folder: Path, root: Path) -> str:
    """A folder as the net would name it; unchanged where that would tell more of it."""
    here = Path.cwd()
    inside = root.absolute().is_relative_to(here)
    if folder.is_absolute() or not inside:
        return folder.as_posix()
    return Path(os.path.relpath(here / folder, root.absolute())).as_posix()
