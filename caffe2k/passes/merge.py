"""TRAIN and TEST, merged into one net where they agree."""

from __future__ import annotations

import dataclasses

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import (
    BOTH_PHASES,
    Blob,
    Layer,
    Net,
    Phase,
    Shape,
    larger_dims,
    merge_dims,
)
from caffe2k.ops import find_op
from caffe2k.schema.message import Message


def merge_phases(train: Net, test: Net, diagnostics: Diagnostics) -> Net:
    """One net with the layers of both phases, each knowing the phases that it is in.

    A layer with a TRAIN and a TEST version becomes one if its op says that the
    difference can be told at run time; data layers stay apart but fill the same blobs.
    Where the phases are wired differently, TRAIN is followed and a warning says so.
    """
    return _Merger(train, test, diagnostics).merge()


_OF_THE_PHASE = {"include", "exclude", "phase", "param"}
"""Fields in which two versions of a layer always may differ."""


class _Merger:
    def __init__(self, train: Net, test: Net, diagnostics: Diagnostics) -> None:
        self.nets = {Phase.TRAIN: train, Phase.TEST: test}
        self.diagnostics = diagnostics
        self.layers: list[Layer] = []
        self.shapes: dict[Blob, Shape] = {}
        self.largest_shapes: dict[Blob, Shape] = {}
        self.param_shapes: dict[int, tuple[Shape, ...]] = {}
        self.merged: dict[Phase, dict[Blob, Blob]] = {Phase.TRAIN: {}, Phase.TEST: {}}
        self.versions: dict[str, int] = {}
        self.sources: dict[str, Blob] = {}

    def merge(self) -> Net:
        train = {layer.index: layer for layer in self.nets[Phase.TRAIN].layers}
        test = {layer.index: layer for layer in self.nets[Phase.TEST].layers}
        twins = self._twins(train, test)
        absorbed = set(twins.values())
        for index in sorted(train.keys() | test.keys()):
            if index in absorbed:
                continue
            ours, theirs = train.get(index), test.get(twins.get(index, index))
            if ours is not None and theirs is not None:
                self._add_both(ours, theirs)
            elif (only := ours or theirs) is not None:
                self._add_single(only)
        first = self.nets[Phase.TRAIN]
        return Net(
            first.name,
            BOTH_PHASES,
            tuple(self.layers),
            self.shapes,
            self.param_shapes,
            largest_shapes=self.largest_shapes,
        )

    def _twins(self, train: dict[int, Layer], test: dict[int, Layer]) -> dict[int, int]:
        """TRAIN layer -> the TEST layer of the same name, type and blobs."""
        waiting = {
            _identity(layer): layer.index
            for layer in test.values()
            if layer.index not in train
        }
        twins: dict[int, int] = {}
        for layer in train.values():
            op = find_op(layer.type)
            if layer.index in test or op is None or op.is_source:
                continue
            twin = waiting.pop(_identity(layer), None)
            if twin is not None:
                twins[layer.index] = twin
        return twins

    def _add_both(self, ours: Layer, theirs: Layer) -> None:
        bottoms = self._bottoms(ours, Phase.TRAIN)
        if self._bottoms(theirs, Phase.TEST) != bottoms:
            self._mismatch(ours, "reads other blobs in TEST than in TRAIN")
        test_message = None
        if theirs.message is not ours.message:
            test_message = theirs.message
            self._check_twin(ours, theirs)
        tops = tuple(self._new_blob(top.name) for top in ours.tops)
        self.layers.append(
            dataclasses.replace(
                ours,
                bottoms=bottoms,
                tops=tops,
                phases=BOTH_PHASES,
                test_message=test_message,
            )
        )
        self._take(ours, tops, Phase.TRAIN)
        self._take(theirs, tops, Phase.TEST)

    def _add_single(self, layer: Layer) -> None:
        (phase,) = layer.phases
        op = find_op(layer.type)
        bottoms = self._bottoms(layer, phase)
        if op is not None and op.is_source:
            tops = tuple(self._source_blob(top.name) for top in layer.tops)
        else:
            tops = tuple(self._new_blob(top.name) for top in layer.tops)
        absent = phase is Phase.TRAIN and op is not None and op(layer).identity_in_test
        phases = BOTH_PHASES if absent else layer.phases
        self.layers.append(
            dataclasses.replace(layer, bottoms=bottoms, tops=tops, phases=phases)
        )
        self._take(layer, tops, phase)
        if absent and layer.in_place:
            tests = self.merged[Phase.TEST]
            for blob in [b for b, m in tests.items() if m == bottoms[0]]:
                tests[blob] = tops[0]
                shape = self.nets[Phase.TEST].shapes.get(blob)
                self._meet_shape(tops[0], shape, layer)

    def _bottoms(self, layer: Layer, phase: Phase) -> tuple[Blob, ...]:
        return tuple(self.merged[phase][b] for b in layer.bottoms)

    def _new_blob(self, name: str) -> Blob:
        version = self.versions.get(name, -1) + 1
        self.versions[name] = version
        return Blob(name, version)

    def _source_blob(self, name: str) -> Blob:
        if name not in self.sources:
            self.sources[name] = self._new_blob(name)
        return self.sources[name]

    def _take(self, layer: Layer, tops: tuple[Blob, ...], phase: Phase) -> None:
        """Records what a phase's blobs became, and meets their shapes."""
        net = self.nets[phase]
        for top, merged in zip(layer.tops, tops, strict=True):
            self.merged[phase][top] = merged
            self._meet_shape(merged, net.shapes.get(top), layer)
        kept = self.layers[-1].index
        if layer.index in net.param_shapes:
            self.param_shapes.setdefault(kept, net.param_shapes[layer.index])

    def _meet_shape(self, blob: Blob, shape: Shape | None, layer: Layer) -> None:
        if shape is None:
            return
        known = self.shapes.get(blob)
        if known is not None and len(known) != len(shape):
            self.diagnostics.error(
                "phase-rank",
                f"blob `{blob.name}` has {len(known)} axes in TRAIN and "
                f"{len(shape)} in TEST",
                layer.span,
                help="translate one phase with --phase",
            )
            return
        if known is None:
            self.shapes[blob] = self.largest_shapes[blob] = shape
            return
        self.shapes[blob] = merge_dims(known, shape)
        largest = self.largest_shapes[blob]
        self.largest_shapes[blob] = larger_dims(largest, shape)

    def _check_twin(self, ours: Layer, theirs: Layer) -> None:
        op = find_op(ours.type)
        allowed = op.phase_dependent if op is not None else ()
        different = _differences(ours.message, theirs.message)
        different = {
            path
            for path in different
            if path not in allowed and path.partition(".")[0] not in _OF_THE_PHASE
        }
        if different:
            fields = ", ".join(f"`{f}`" for f in sorted(different))
            self._mismatch(ours, f"differs between TRAIN and TEST in {fields}")
        # What equals TRAIN's is read there, and what may differ the op knows of.
        theirs.message.mark_read(*(name for name, _ in theirs.message.entries()))

    def _mismatch(self, layer: Layer, what: str) -> None:
        self.diagnostics.warning(
            "phase-mismatch",
            f"layer `{layer.name}` {what}; the Keras model follows TRAIN",
            layer.span,
            help="`--phase TEST` translates the TEST net on its own",
        )


def _identity(layer: Layer) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    return (
        layer.name,
        layer.type,
        tuple(b.name for b in layer.bottoms),
        tuple(t.name for t in layer.tops),
    )


def _differences(a: Message, b: Message, prefix: str = "") -> set[str]:
    """The dotted paths of the fields in which two messages of a type differ."""
    found: set[str] = set()
    names = {name for name, _ in (*a.entries(), *b.entries())}
    for name in names:
        ours = [e.value for e in a.entries_of(name)]
        theirs = [e.value for e in b.entries_of(name)]
        nested = (
            a.schema.fields[name].message is not None and len(ours) == len(theirs) == 1
        )
        if nested:
            found |= _differences(ours[0], theirs[0], f"{prefix}{name}.")
        elif [_plain(v) for v in ours] != [_plain(v) for v in theirs]:
            found.add(prefix + name)
    return found


def _plain(value: object) -> object:
    if isinstance(value, Message):
        return [(name, _plain(entry.value)) for name, entry in value.entries()]
    return value
