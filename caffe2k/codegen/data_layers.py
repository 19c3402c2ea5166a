"""What data.py reads: data layers as calls of readers, not text yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from caffe2k.codegen.stubs import StubReader


@dataclass(frozen=True)
class Named:
    """A path that a prototxt names, and the place, `file:line`, where it does."""

    path: str
    named_in: str


@dataclass(frozen=True)
class Transform:
    """The object that changes a layer's images: a class of caffe_runtime.

    `settings` are its arguments by name, without those that are its defaults. `mean` is
    the ported mean_file, by its path beside data.py. `mirrors` and `crops` say what is
    drawn by chance: in each phase, and in TRAIN.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    mean: Named | None = None
    mirrors: bool = False
    crops: bool = False
    module: str = "transform"
    name: str = "Transformer"
    takes_phase: bool = True


@dataclass(frozen=True)
class ReaderLayer:
    """A data layer, and the class of caffe_runtime that reads it.

    `settings` are arguments by name, without those that are the reader's defaults;
    batch_size is None where it has none. `is_rooted`: whether it looks files up itself.
    `draws`: whether it draws by chance. `takes` is what the function of data.py is
    handed for it, empty for nothing. `prefetch`: the batches to read ahead. `varies`:
    the tops whose third axis differs in size from batch to batch.
    """

    module: str
    name: str
    tops: tuple[str, ...]
    source: Named | None = None
    batch_size: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    transform: Transform = Transform()
    is_rooted: bool = False
    draws: bool = False
    takes: str = ""
    prefetch: int = 4
    varies: tuple[str, ...] = ()


DataLayer = ReaderLayer | StubReader

Wiring = str | Mapping[str, str]
"""The top that is the only input or output, or name in the model -> top."""


@dataclass(frozen=True)
class DataFunction:
    """A function of data.py, such as train_data: the data layers of one net.

    `phase` is TRAIN or TEST. `outputs` is None where a model has no targets.
    """

    name: str
    phase: str
    layers: tuple[DataLayer, ...]
    inputs: Wiring
    outputs: Wiring | None = None

    @property
    def readers(self) -> list[ReaderLayer]:
        """The layers that caffe_runtime reads."""
        return [layer for layer in self.layers if isinstance(layer, ReaderLayer)]

    @property
    def batch_size(self) -> int | None:
        """The batch size of all layers, None where they differ or have none."""
        sizes = {x.batch_size for x in self.readers if x.batch_size is not None}
        return sizes.pop() if len(sizes) == 1 else None

    @property
    def batch_size_name(self) -> str:
        """The constant that holds `batch_size`: TRAIN_BATCH_SIZE for train_data."""
        return f"{self.name.replace('_data', '').upper()}_BATCH_SIZE"

    @property
    def draws(self) -> bool:
        """Whether anything in its batches is drawn by chance."""
        return any(
            layer.draws
            or layer.transform.mirrors
            or (layer.transform.crops and self.phase == "TRAIN")
            for layer in self.readers
        )

    def varying(self, axis: int) -> dict[str, int]:
        """The inputs of the model that differ in size, with the `axis` that does."""
        tops = {top for layer in self.readers for top in layer.varies}
        if isinstance(self.inputs, str):
            return {}
        return {name: axis for name, top in self.inputs.items() if top in tops}

    @property
    def takes(self) -> list[str]:
        """What the function is handed, each once."""
        return list(dict.fromkeys(x.takes for x in self.readers if x.takes))

    @property
    def prefetch(self) -> int:
        """The batches to read ahead: as many as the layer that wants most."""
        return max((layer.prefetch for layer in self.readers), default=4)
