"""data.py: a net's data layers, as the readers of caffe_runtime that stand for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from caffe2k.codegen import templates
from caffe2k.codegen.literals import literal

_MODULES = {
    "DataReader": "databases",
    "DummyReader": "dummy_data",
    "HDF5Reader": "hdf5_data",
    "ImageListReader": "image_data",
    "Transformer": "transform",
    "batches": "readers",
    "load_mean": "transform",
    "locate": "readers",
    "random_generator": "readers",
}


@dataclass(frozen=True)
class Named:
    """A path that a prototxt names, and the place, `file:line`, where it does."""

    path: str
    named_in: str


@dataclass(frozen=True)
class Transform:
    """A transform_param. `mean` is the ported mean_file, by its path beside data.py."""

    scale: float = 1.0
    mean: Named | None = None
    mean_values: tuple[float, ...] = ()
    crop_size: int = 0
    mirror: bool = False
    force_color: bool = False
    force_gray: bool = False


@dataclass(frozen=True)
class DatabaseLayer:
    """A Data layer. `backend` is LMDB or LEVELDB."""

    source: Named
    batch_size: int
    tops: tuple[str, ...]
    backend: str
    transform: Transform = Transform()


@dataclass(frozen=True)
class HDF5Layer:
    """An HDF5Data layer."""

    source: Named
    batch_size: int
    tops: tuple[str, ...]
    shuffle: bool = False


@dataclass(frozen=True)
class ImageListLayer:
    """An ImageData layer."""

    source: Named
    batch_size: int
    tops: tuple[str, ...]
    transform: Transform = Transform()
    root_folder: str = ""
    new_height: int = 0
    new_width: int = 0
    is_color: bool = True
    shuffle: bool = False
    rand_skip: int = 0


@dataclass(frozen=True)
class DummyLayer:
    """A DummyData layer; a filler is what its FillerParameter sets, by field."""

    tops: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    fillers: tuple[Mapping[str, str | float], ...] = ()


DataLayer = DatabaseLayer | HDF5Layer | ImageListLayer | DummyLayer

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
    def batch_size(self) -> int | None:
        """The batch size of all layers, None where they differ or have none."""
        sizes = {x.batch_size for x in self.layers if not isinstance(x, DummyLayer)}
        return sizes.pop() if len(sizes) == 1 else None

    @property
    def batch_size_name(self) -> str:
        """The constant that holds `batch_size`: TRAIN_BATCH_SIZE for train_data."""
        return f"{self.name.replace('_data', '').upper()}_BATCH_SIZE"


@dataclass(frozen=True)
class DataScript:
    """All that data.py says.

    `data_root` is the way from data.py's folder to the folder that sources are relative
    to; None where it isn't known: then, as in Caffe, it is the working directory.
    `seed` is the solver's random_seed, None where it sets none.
    """

    functions: tuple[DataFunction, ...]
    data_root: str | None = None
    seed: int | None = None
    data_format: str = "channels_last"


@dataclass(frozen=True)
class _Context:
    """The whole context of templates/data.py.j2."""

    functions: list[_FunctionText]
    imports: dict[str, list[str]]
    data_root: str | None
    seed: int | None
    draws: bool
    has_sources: bool
    has_home: bool


def render(script: DataScript) -> str:
    """data.py, not yet formatted. Every string of `script` becomes a Python literal."""
    functions = [_FunctionText(f, script.data_format) for f in script.functions]
    used = {name for function in functions for name in function.used}
    modules = sorted({_MODULES[name] for name in used})
    has_sources = "locate" in used
    context = _Context(
        functions=functions,
        imports={m: sorted(n for n in used if _MODULES[n] == m) for m in modules},
        data_root=script.data_root,
        seed=script.seed,
        draws=any(function.draws for function in functions),
        has_sources=has_sources,
        has_home="load_mean" in used or (has_sources and script.data_root is not None),
    )
    return templates.render("data.py.j2", context)


class _FunctionText:
    """The expressions of one function, the runtime names in them, and if it draws."""

    def __init__(self, function: DataFunction, data_format: str) -> None:
        self.function = function
        self.used: set[str] = set()
        self.draws = False
        self.readers = [self._reader(layer) for layer in function.layers]
        if self.draws:
            self.used.add("random_generator")
        self.batches = self._batches(data_format)

    def _call(self, name: str, *args: str, **settings: str) -> str:
        self.used.add(name)
        parts = [*args, *(f"{k}={v}" for k, v in settings.items())]
        return f"{name}({', '.join(parts)})"

    def _rng(self, draws: bool) -> dict[str, str]:
        self.draws = self.draws or draws
        return {"rng": "rng"} if draws else {}

    def _reader(self, layer: DataLayer) -> str:
        match layer:
            case DatabaseLayer():
                backend = literal(layer.backend)
                transform = self._transform(layer.transform)
                return self._listed("DataReader", layer, backend=backend, **transform)
            case HDF5Layer():
                settings = _changed(layer, "shuffle") | self._rng(layer.shuffle)
                return self._listed("HDF5Reader", layer, root="DATA_ROOT", **settings)
            case ImageListLayer():
                return self._image_list(layer)
            case DummyLayer():
                return self._dummy(layer)

    def _listed(
        self,
        name: str,
        layer: DatabaseLayer | HDF5Layer | ImageListLayer,
        **settings: str,
    ) -> str:
        """A reader of a source, with what all of them take."""
        source = (literal(layer.source.path), literal(layer.source.named_in))
        shared = self.function.batch_size is not None
        size = self.function.batch_size_name if shared else literal(layer.batch_size)
        return self._call(
            name,
            self._call("locate", "DATA_ROOT", *source),
            batch_size=size,
            tops=literal(list(layer.tops)),
            **settings,
        )

    def _image_list(self, layer: ImageListLayer) -> str:
        names = (
            "root_folder",
            "new_height",
            "new_width",
            "is_color",
            "shuffle",
            "rand_skip",
        )
        return self._listed(
            "ImageListReader",
            layer,
            root="DATA_ROOT",
            **_changed(layer, *names),
            **self._transform(layer.transform),
            **self._rng(layer.shuffle or layer.rand_skip > 0),
        )

    def _dummy(self, layer: DummyLayer) -> str:
        kinds = {filler.get("type", "constant") for filler in layer.fillers}
        return self._call(
            "DummyReader",
            tops=literal(list(layer.tops)),
            shapes=literal(list(layer.shapes)),
            **_changed(layer, "fillers"),
            **self._rng(not kinds <= {"constant", "bilinear"}),
        )

    def _transform(self, transform: Transform) -> dict[str, str]:
        if transform == Transform():
            return {}
        phase = self.function.phase
        settings = _changed(transform, "scale")
        if transform.mean is not None:
            path, named_in = (
                literal(transform.mean.path),
                literal(transform.mean.named_in),
            )
            settings["mean"] = self._call("load_mean", f"HERE / {path}", named_in)
        names = ("mean_values", "crop_size", "mirror", "force_color", "force_gray")
        settings |= _changed(transform, *names)
        crops = transform.crop_size > 0 and phase == "TRAIN"
        settings |= self._rng(transform.mirror or crops)
        return {"transform": self._call("Transformer", literal(phase), **settings)}

    def _batches(self, data_format: str) -> str:
        settings = {"inputs": literal(self.function.inputs)}
        if self.function.outputs is not None:
            settings["outputs"] = literal(self.function.outputs)
        if data_format != "channels_last":
            settings["data_format"] = literal(data_format)
        return self._call("batches", "readers", **settings)


def _changed(layer: DataLayer | Transform, *names: str) -> dict[str, str]:
    """Those of the settings that are not their default, as literals."""
    defaults = {f.name: f.default for f in dataclasses.fields(layer)}
    values = {name: getattr(layer, name) for name in names}
    return {k: literal(v) for k, v in values.items() if v != defaults[k]}
