"""What each layer of a net writes and keeps, and what it computes, without Keras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Phase, Shape, count
from caffe2k.ops import find_op
from caffe2k.ops.base import UNKNOWN
from caffe2k.passes.sharing import share_params
from caffe2k.pipeline import Options, analyse
from caffe2k.project import read_project

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class LayerSizes:
    """One layer; shapes are in Caffe's axis order, the batch included.

    `own_values` is the number of its parameters, without those of another layer that it
    shares; `macs` the multiply-adds of one forward pass, as LayerOp.multiply_adds says.
    """

    name: str
    type: str
    tops: dict[str, Sizes | None]
    params: list[Sizes]
    own_values: int
    macs: int


@dataclass(frozen=True)
class NetSizes:
    """The layers of a net in one phase; `batch` is the first axis of what it reads."""

    layers: list[LayerSizes]
    batch: int | None

    @property
    def values(self) -> int:
        """The number of all parameters, shared ones once."""
        return sum(layer.own_values for layer in self.layers)

    def as_json(self) -> list[dict[str, object]]:
        """A layer an object; a top whose shape only the author of a stub knows is null."""
        return [
            {
                "name": layer.name,
                "type": layer.type,
                "tops": layer.tops,
                "params": layer.params,
                "macs": layer.macs,
            }
            for layer in self.layers
        ]

    @property
    def macs(self) -> int:
        """The multiply-adds of one forward pass over the batch."""
        return sum(layer.macs for layer in self.layers)


def layer_sizes(path: Path, options: Options) -> NetSizes:
    """The layers of a net, or of the net that a solver names, in `options.phase`.

    Options of layers that Keras can't express do no harm, as nothing is translated.
    Raises TranslationError with every reason why some shape can't be known.
    """
    phase = options.phase or Phase.TEST
    diagnostics = Diagnostics()
    project = read_project(path, None, diagnostics)
    chosen = Options(
        phase, input_shapes=options.input_shapes, stub_unknown=options.stub_unknown
    )
    net = analyse(project.net, project.root, chosen, diagnostics, project.states)[phase]
    net = share_params(net, diagnostics)
    diagnostics.raise_if_errors()
    layers, batch = [], None
    for layer in net.layers:
        op_type = find_op(layer.type)
        assert op_type is not None
        bottom = [net.shapes[blob] for blob in layer.bottoms]
        top = [net.shapes[blob] for blob in layer.tops]
        if batch is None and op_type.is_source and top[0]:
            batch = top[0][0]
        params = list(net.param_shapes.get(layer.index, ()))
        own = [s for i, s in enumerate(params) if (layer.index, i) not in net.owners]
        macs = op_type(layer).multiply_adds(bottom, top)
        layers.append(
            LayerSizes(
                layer.name,
                layer.message.type,
                {blob.name: _sizes(net.shapes[blob]) for blob in layer.tops},
                [_sizes(shape) or () for shape in params],
                sum(map(count, own)),
                macs,
            )
        )
    return NetSizes(layers, batch)


def _sizes(shape: Shape) -> Sizes | None:
    """A shape of one phase: all its sizes are known, or it is a stub's."""
    return None if shape is UNKNOWN else tuple(size or 0 for size in shape)
