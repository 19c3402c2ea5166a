"""data.py: a net's data layers, as the readers of caffe_runtime that stand for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from caffe2k.codegen import templates
from caffe2k.codegen.data_layers import (
    DataFunction,
    DataLayer,
    Named,
    ReaderLayer,
    Transform,
)
from caffe2k.codegen.literals import call_text, literal
from caffe2k.codegen.program import Call
from caffe2k.codegen.stubs import DATA, StubReader, Stubs


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
    has_sources: bool
    has_home: bool
    has_stubs: bool


def custom_data(script: DataScript) -> Stubs:
    """The readers that the user has to write."""
    stubs = Stubs(DATA)
    for function in script.functions:
        for layer in function.layers:
            if isinstance(layer, StubReader):
                stubs.use(layer.origin, layer.use)
    return stubs


def render(script: DataScript) -> str:
    """data.py, not yet formatted. Every string of `script` becomes a Python literal."""
    stubs = custom_data(script)
    functions = [_FunctionText(f, script, stubs) for f in script.functions]
    used = sorted({name for function in functions for name in function.used})
    imports: defaultdict[str, list[str]] = defaultdict(list)
    for module, name in used:
        imports[module].append(name)
    rooted = any(r.source or r.is_rooted for f in script.functions for r in f.readers)
    means = ("transform", "load_mean") in used
    context = _Context(
        functions=functions,
        imports=dict(imports),
        data_root=script.data_root,
        seed=script.seed if any(f.draws for f in script.functions) else None,
        has_sources=rooted,
        has_home=means or (rooted and script.data_root is not None),
        has_stubs=bool(stubs),
    )
    return templates.render("data.py.j2", context)


class _FunctionText:
    """The expressions of one function, and the runtime names in them by module."""

    def __init__(
        self, function: DataFunction, script: DataScript, stubs: Stubs
    ) -> None:
        self.function = function
        self.stubs = stubs
        self.used: set[tuple[str, str]] = set()
        self.readers = [self._reader(layer) for layer in function.layers]
        seed = "RANDOM_SEED" if function.draws and script.seed is not None else ""
        self.parameters = ", ".join([*self._parameters(seed), "**options"])
        self.batches = self._batches(script.data_format, bool(seed))

    def _parameters(self, seed: str) -> list[str]:
        f = self.function
        parameters = [f"{name}=None" for name in f.takes]
        if f.batch_size is not None:
            parameters.append(f"batch_size={f.batch_size_name}")
        return parameters + ([f"seed={seed}"] if seed else [])

    def _call(self, module: str, name: str, *args: str, **settings: str) -> str:
        self.used.add((module, name))
        parts = [*args, *(f"{k}={v}" for k, v in settings.items())]
        return f"{name}({', '.join(parts)})"

    def _reader(self, layer: DataLayer) -> str:
        if isinstance(layer, StubReader):
            return self._stub(layer)
        args = [layer.takes] if layer.takes else []
        if layer.source is not None:
            args.append(self._located(layer.source))
        settings = self._batch_size(layer) | {"tops": literal(list(layer.tops))}
        if layer.is_rooted:
            settings["root"] = "DATA_ROOT"
        settings |= _literals(layer.settings) | self._transform(layer.transform)
        return self._call(layer.module, layer.name, *args, **settings)

    def _located(self, source: Named) -> str:
        named = (literal(source.path), literal(source.named_in))
        return self._call("readers", "locate", "DATA_ROOT", *named)

    def _batch_size(self, layer: ReaderLayer) -> dict[str, str]:
        if layer.batch_size is None:
            return {}
        shared = self.function.batch_size is not None
        return {"batch_size": "batch_size" if shared else literal(layer.batch_size)}

    def _stub(self, layer: StubReader) -> str:
        arguments: dict[str, Any] = {
            "tops": list(layer.tops),
            "shapes": layer.shapes,
            **layer.settings,
            "phase": self.function.phase,
        }
        target = self.stubs.use(layer.origin, layer.use)
        return call_text(Call(target, (), tuple(arguments.items())))

    def _transform(self, transform: Transform) -> dict[str, str]:
        settings = {}
        if transform.mean is not None:
            path, named_in = transform.mean.path, transform.mean.named_in
            settings["mean"] = self._call(
                "transform", "load_mean", f"HERE / {literal(path)}", literal(named_in)
            )
        settings |= _literals(transform.settings)
        if not settings:
            return {}
        phase = [literal(self.function.phase)] if transform.takes_phase else []
        made = self._call(transform.module, transform.name, *phase, **settings)
        return {"transform": made}

    def _batches(self, data_format: str, seeded: bool) -> str:
        f = self.function
        settings = {"inputs": literal(f.inputs)}
        if f.outputs is not None:
            settings["outputs"] = literal(f.outputs)
        if data_format != "channels_last":
            settings["data_format"] = literal(data_format)
        if f.prefetch != 4:
            settings["prefetch"] = literal(f.prefetch)
        if f.phase == "TEST":
            settings["world"] = "1"
        if seeded:
            settings["seed"] = "seed"
        call = self._call("readers", "Batches", "readers", **settings)
        return f"{call[:-1]}, **options)"


def _literals(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: literal(value) for name, value in settings.items()}
