"""Python layers, and types that nobody knows: classes that the user has to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from caffe2k.codegen.program import Argument
from caffe2k.codegen.stubs import DATA, LAYERS, Origin, StubReader, Use
from caffe2k.ir.net import Blob, Layer, Shape
from caffe2k.ops.base import UNKNOWN, WIRING, Count, DataShapes, LayerOp, at_least
from caffe2k.ops.data import SourceOp, place
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import find_op, layer_op
from caffe2k.schema.message import Message

_PYTHON = "Python"
_PYTHON_DATA = "Python without bottoms"
_UNKNOWN = "unknown type"
_UNKNOWN_DATA = "unknown type without bottoms"


def op_name(message: Message, *, stub_unknown: bool) -> str:
    """The name under which the op of a layer is registered.

    That is its type, or `module.layer` where somebody registered an op for this Python
    layer, or the name of the stub that will stand for it.
    """
    layer_type: str = message.type
    if layer_type == _PYTHON:
        p = message.python_param
        own = f"{p.module}.{p.layer}"
        if find_op(own) is not None:
            return own
        return _PYTHON if message.bottom else _PYTHON_DATA
    if stub_unknown and layer_type and find_op(layer_type) is None:
        return _UNKNOWN if message.bottom else _UNKNOWN_DATA
    return layer_type


def _origin(layer: Layer) -> Origin:
    message = layer.message
    if message.type != _PYTHON:
        return Origin(message.type, is_python=False)
    p = message.python_param
    # Whether several GPUs of one solver share the layer.
    p.mark_read("share_in_parallel")
    if not (p.module and p.layer):
        raise OpError(
            "python-layer-name",
            f"layer `{layer.name}` says not which Python layer it is",
            field="python_param",
            help='write python_param { module: "file" layer: "Class" }',
        )
    return Origin(f"{p.module}.{p.layer}", is_python=True)


def _settings(message: Message) -> dict[str, Any]:
    """What the layer says: its parameter string, or a dict of its own fields."""
    if message.type == _PYTHON:
        text = message.python_param.param_str
        return {"param_str": text} if text else {}
    wiring = (*WIRING, "phase", "loss_weight")
    fields = {k: v for k, v in _plain(message).items() if k not in wiring}
    message.mark_read(*fields)
    fields |= {unknown.name: unknown.value for unknown in message.unknown}
    return {"settings": fields} if fields else {}


def _plain(message: Message) -> dict[str, Any]:
    """A message as dicts, lists and scalars; a repeated field is a list."""
    found: dict[str, Any] = {}
    for name, entry in message.entries():
        known = message.schema.fields.get(name)
        value = _plain(entry.value) if isinstance(entry.value, Message) else entry.value
        if known is not None and known.repeated:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _use(layer: Layer, shape_of: Callable[[Blob], Shape]) -> Use:
    def known(blob: Blob) -> Shape | None:
        shape = shape_of(blob)
        return None if shape is UNKNOWN else shape

    return Use(
        layer.name,
        place(layer.span),
        tuple((b.name, known(b)) for b in layer.bottoms),
        tuple((t.name, known(t)) for t in layer.tops),
    )


class Stub(LayerOp):
    """A layer that only its author can translate: a Keras layer whose call() is missing.

    Its inputs and outputs have Caffe's axes. A top has the shape that the user gives it,
    in place that of the bottom, with a loss_weight (1,) as one number, else nobody knows.
    """

    bottoms = at_least(1)
    tops = Count(0, None)
    is_stub = True

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        _origin(self.layer)
        written_over = {
            b.name: shape for b, shape in zip(self.layer.bottoms, bottom, strict=True)
        }
        weights = self.loss_weights
        shapes: list[Shape] = []
        for i, top in enumerate(self.layer.tops):
            given = data.given(top.name) or written_over.get(top.name)
            is_loss = i < len(weights) and weights[i] != 0
            shapes.append(given or ((1,) if is_loss else UNKNOWN))
        return shapes

    def lower(self, k: Lowering) -> None:
        layer, tops = self.layer, self.layer.tops
        origin = _origin(layer)
        if not tops:
            _settings(layer.message)
            k.warn(
                OpError(
                    "stub-without-top",
                    f"layer `{layer.name}` writes no blob, and is left out",
                    help="what it did besides belongs into a Keras callback",
                )
            )
            return
        target = k.stub(origin, _use(layer, k.shape_of))
        shapes = [_keras_shape(k.shape_of(top)) for top in tops]
        arguments: dict[str, Argument] = _settings(layer.message)
        made = k.add_many(target, outputs=len(tops), **arguments, top_shapes=shapes)
        k.output(*made)
        k.warn(_to_do(layer, origin, f"{target.name}.call()", LAYERS))


def _keras_shape(shape: Shape) -> Shape:
    """The shape with any batch; that of one number stays."""
    return shape if shape == (1,) else (None, *shape[1:])


def _to_do(layer: Layer, origin: Origin, what: str, module: str) -> OpError:
    return OpError(
        "stub",
        f"layer `{layer.name}` is left for you to write: it is {origin}",
        help=f"write {what} in {module}.py; weights that it has are not ported",
    )


@layer_op("Python")
class Python(Stub):
    """A layer that a Python class computes (python_layer.hpp)."""

    keras = "a class of custom_layers.py to write"


@layer_op("unknown type")
class Unknown(Stub):
    """A layer of a type that has no op, where the user wants a stub for it."""

    keras = "a class of custom_layers.py to write, with --stub-unknown"


class StubData(SourceOp):
    """A data layer that only its author can translate: an input of the model."""

    is_stub = True

    def __init__(self, layer: Layer) -> None:
        LayerOp.__init__(self, layer)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        _origin(self.layer)
        shapes = data.of(self.layer)
        if shapes is None:
            top = self.layer.tops[0].name
            raise OpError(
                "unknown-data-shape",
                f"only layer `{self.layer.name}` itself knows the shape of `{top}`, an "
                "input of the net",
                help=f"pass --input-shape {top}=N,C,H,W",
            )
        return list(shapes)

    def stub_reader(self, shapes: Mapping[Blob, Shape]) -> StubReader:
        """The class that data.py reads the layer's batches with, to be written."""
        return StubReader(
            _origin(self.layer),
            _use(self.layer, lambda blob: shapes[blob]),
            _settings(self.layer.message),
        )

    def difference(self) -> OpError:
        """What the user has to know of it."""
        origin = _origin(self.layer)
        return _to_do(self.layer, origin, f"{origin.class_name}.__iter__()", DATA)


@layer_op("Python without bottoms")
class PythonData(StubData):
    """A Python layer that brings data in (python_layer.hpp)."""

    keras = "keras.Input, a class of custom_data.py to write"


@layer_op("unknown type without bottoms")
class UnknownData(StubData):
    """A data layer of a type that has no op, where the user wants a stub for it."""

    keras = "keras.Input, a class of custom_data.py to write, with --stub-unknown"
