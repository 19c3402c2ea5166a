"""A plan for a net that can't be translated: layer by layer, from types and shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.layout import Segment
from caffe2k.schema.message import Message
from caffe2k.weights.blob import CaffeModel, LayerBlobs, Shape
from caffe2k.weights.caffe_side import todays_shape
from caffe2k.weights.coverage import LayerCoverage
from caffe2k.weights.plan import PlannedLayer, PlannedWeight, WeightPlan
from caffe2k.weights.transforms import (
    IDENTITY,
    OI_TO_IO,
    Steps,
    Transpose,
    conv_kernel,
    dense_kernel,
    depthwise_kernel,
    reorder_axis,
)

_CONVOLUTIONS = {
    "Convolution",
    "ConvolutionDepthwise",
    "DepthwiseConvolution",
    "Deconvolution",
}
_RECURRENT = {"LSTM", "RNN"}
_AS_THEY_ARE = {"BatchNorm", "Bias", "BN", "Embed", "Normalize", "PReLU", "Scale"}
_FLAT = {"InnerProduct", "Embed", "LSTM", "RNN"}
_NEW_CHANNELS = {"Input", "Data", "ImageData", "MemoryData", "HDF5Data", "WindowData"}
_REARRANGING = {"Reshape", "Permute", "Slice", "SPP", "Reorg", "Im2col", "Tile"}

_IMAGE_RANKS = (4, 5)
"""How many axes an input has that a Keras model takes with its channels last."""


def loose_plan(
    exact: WeightPlan,
    net: Message,
    model: CaffeModel,
    claim: Callable[[str], str],
    is_known: Callable[[str], bool],
    diagnostics: Diagnostics,
    *,
    channels_last: bool,
) -> WeightPlan:
    """`exact`, with the layers of the file added that it lacks and the net has.

    What the transposes of a kernel depend on is looked up in the net as far as it can
    be told; where it can't, and where a layer's type is not known, a warning says that
    blobs are ported as they are. `claim` makes names for Keras layers;
    `is_known` tells the types that can be translated.
    """
    planned = {b.caffe_layer for _, w in exact.weights() for b in w.blobs}
    messages = {message.name: message for message in net.layer}
    channels = _Channels(net, model, is_known) if channels_last else None
    layers = list(exact.layers)
    for layer in model.layers:
        message = messages.get(layer.name)
        if message is None or layer.name in planned or not layer.blobs:
            continue
        planned.add(layer.name)
        planner = _Planner(layer, message, channels, diagnostics)
        layers.append(PlannedLayer(claim(layer.name), tuple(planner.weights())))
    return WeightPlan(tuple(layers))


def lacking(net: Message, plan: WeightPlan, model: CaffeModel) -> list[LayerCoverage]:
    """The layers of a net that have parameters for certain, and none in the file.

    Which shapes they have is not known.
    """
    planned = {b.caffe_layer for _, w in plan.weights() for b in w.blobs}
    given = {layer.name for layer in model.layers if layer.blobs}
    return [
        LayerCoverage(layer.name, "", ())
        for layer in net.layer
        if layer.type in _CONVOLUTIONS | _FLAT | {"BatchNorm"}
        and layer.name not in planned | given
    ]


@dataclass
class _Channels:
    """How many channels blobs have, as far as parameters tell."""

    net: Message
    model: CaffeModel
    is_known: Callable[[str], bool]
    blobs: Mapping[str, LayerBlobs] = field(init=False)
    assumed: list[Message] = field(default_factory=list)
    """Layers of unknown types that the last answer takes to keep the channels."""

    def __post_init__(self) -> None:
        self.blobs = {layer.name: layer for layer in self.model.layers}

    def of_bottom(self, reader: Message) -> int | None:
        """The channels of what a layer reads, if it is an image; 0 if it is flat."""
        self.assumed.clear()
        before = list(self.net.layer)
        before = before[: before.index(reader)]
        return self._of(reader.bottom[0], before) if reader.bottom else None

    def _of(self, blob: str, before: list[Message]) -> int | None:
        while before:
            layer = before.pop()
            if blob not in layer.top:
                continue
            if layer.type in _CONVOLUTIONS:
                return self._made_by(layer)
            if layer.type in _FLAT:
                return 0
            if layer.type == "Concat":
                return self._joined(layer, before)
            if layer.type in _NEW_CHANNELS | _REARRANGING or not layer.bottom:
                return self._given(layer)
            if not self.is_known(layer.type):
                self.assumed.append(layer)
            blob = layer.bottom[0]
        return None

    def _made_by(self, layer: Message) -> int | None:
        named: int = layer.convolution_param.num_output
        found = self.blobs.get(layer.name)
        if layer.type == "ConvolutionDepthwise" and found and found.blobs[0]:
            return found.blobs[0].shape[0]
        return named or None

    def _joined(self, layer: Message, before: list[Message]) -> int | None:
        if layer.concat_param.axis != 1:
            return None
        parts = [self._of(name, list(before)) for name in layer.bottom]
        known = [part for part in parts if part]
        return sum(known) if len(known) == len(parts) else None

    def _given(self, layer: Message) -> int | None:
        shapes = layer.input_param.shape if layer.type == "Input" else []
        dims = list(shapes[0].dim) if len(shapes) == 1 else []
        if not dims:
            return None
        return int(dims[1]) if len(dims) in _IMAGE_RANKS else 0


class _Planner:
    """The weights of one layer of a file."""

    def __init__(
        self,
        layer: LayerBlobs,
        message: Message,
        channels: _Channels | None,
        diagnostics: Diagnostics,
    ) -> None:
        self.layer = layer
        self.message = message
        self.channels = channels
        self.diagnostics = diagnostics

    def weights(self) -> Iterator[PlannedWeight]:
        kind = self.message.type
        known = _CONVOLUTIONS | _RECURRENT | _AS_THEY_ARE | {"InnerProduct"}
        if kind not in known:
            self._warn(
                "weights-raw",
                f"layer `{self.layer.name}` is of the type {kind}, which is not known: "
                "its blobs are ported as they are",
                "their axes are in Caffe's order",
            )
        for index, blob in enumerate(self.layer.blobs):
            if blob is None:
                continue
            shape = todays_shape(kind, index, blob)
            name, steps = self._weight(index, shape)
            yield PlannedWeight(name, self.layer.name, index, shape, steps)

    def _weight(self, index: int, shape: Shape) -> tuple[str, Steps]:
        kind = self.message.type
        if kind in _CONVOLUTIONS and len(shape) > 2:
            return self._filters(shape)
        if kind == "InnerProduct" and len(shape) == 2:
            return "kernel", self._dense(shape)
        if kind in _CONVOLUTIONS | {"InnerProduct"} and index == 1:
            return "bias", IDENTITY
        if kind in _RECURRENT and len(shape) == 2:
            return str(index), OI_TO_IO
        if self._holds_image(shape):
            return str(index), (Transpose((*range(1, len(shape)), 0)),)
        return str(index), IDENTITY

    def _holds_image(self, shape: Shape) -> bool:
        """Whether a blob has channels first that the model has last."""
        params = {
            "Scale": self.message.scale_param,
            "Bias": self.message.bias_param,
        }
        param = params.get(self.message.type)
        return (
            self.channels is not None
            and param is not None
            and param.axis in (1, -len(shape))
            and len(shape) > 1
        )

    def _filters(self, shape: Shape) -> tuple[str, Steps]:
        param = self.message.convolution_param
        group = param.group if param.has("group") else 1
        if self.message.type in ("ConvolutionDepthwise", "DepthwiseConvolution"):
            group = group if group > 1 else shape[0]
        is_forward = self.message.type != "Deconvolution"
        if is_forward and group > 1 and shape[1] == 1 and len(shape) == 4:
            return "depthwise_kernel", depthwise_kernel(group, shape)
        return "kernel", conv_kernel(len(shape) - 2)

    def _dense(self, shape: Shape) -> Steps:
        param = self.message.inner_product_param
        axis = 0 if param.transpose else 1
        order = self._order(shape[axis])
        if param.transpose:
            return reorder_axis(shape, 0, order)
        return dense_kernel(shape[0], order)

    def _order(self, inputs: int) -> tuple[Segment, ...]:
        """In which order a Keras model without a transpose in it has the inputs."""
        if self.channels is None or self.message.inner_product_param.axis != 1:
            return ()
        channels = self.channels.of_bottom(self.message)
        if channels == 0 or channels == inputs:
            return ()
        if channels is None or inputs % channels:
            self._warn(
                "weights-order",
                f"the kernel of layer `{self.layer.name}` takes its inputs in Caffe's "
                "order: what the layers in front of it make is not known",
                "put Permute((3, 1, 2)) before a Flatten of an image",
            )
            return ()
        for other in self.channels.assumed:
            self._warn(
                "weights-assumed",
                f"the kernel of layer `{self.layer.name}` is ported as if layer "
                f"`{other.name}` ({other.type}) kept the channels that it reads",
                "if it doesn't, order the kernel's inputs yourself",
            )
        return (Segment((channels, inputs // channels), (1, 0)),)

    def _warn(self, code: str, message: str, help: str) -> None:
        self.diagnostics.warning(code, message, self.message.span_of("type"), help=help)
