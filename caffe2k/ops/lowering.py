"""What an op writes its Keras calls through: one layer's inputs, layouts and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2k.codegen.names import Names, keras_name
from caffe2k.codegen.program import (
    Argument,
    Call,
    KerasLayer,
    LossTerm,
    MetricTerm,
    Program,
    Step,
    Target,
    Tensor,
    keras_layer,
    runtime,
)
from caffe2k.codegen.stubs import LAYERS, Origin, Stubs, Use
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Blob, Layer, Net, ParamKey, Phase, Shape
from caffe2k.ops.errors import OpError
from caffe2k.sources.lookup import find_beside
from caffe2k.weights.plan import PlannedWeight
from caffe2k.weights.transforms import Steps

if TYPE_CHECKING:
    from caffe2k.weights.blob import FloatArray


@dataclass
class LoweredNet:
    """What the lowering of a net has come to so far."""

    net: Net
    form: DataFormat
    program: Program
    names: Names = field(default_factory=Names)
    tensors: dict[Blob, Tensor] = field(default_factory=dict)
    layouts: dict[Blob, Layout] = field(default_factory=dict)
    sources: dict[Blob, str] = field(default_factory=dict)
    """What the data layers bring -> the name of the model's input, if it is one."""
    source_comments: dict[Blob, tuple[str, ...]] = field(default_factory=dict)
    shared: dict[tuple[ParamKey, ...], KerasLayer] = field(default_factory=dict)
    converted: dict[tuple[Blob, Layout], Tensor] = field(default_factory=dict)
    inner_losses: list[Blob] = field(default_factory=list)
    """Blobs that add to the objective inside the model: an output must depend on them."""
    warnings: list[tuple[Layer, OpError]] = field(default_factory=list)
    """What differs from Caffe, and in which layer."""
    root: Path = Path()
    """The folder from which the net names files."""
    prefix: str = ""
    """What the names of files beside the net's script begin with."""
    arrays: dict[str, FloatArray] = field(default_factory=dict)
    """What lies in .npy files beside model.py."""
    stubs: Stubs = field(default_factory=lambda: Stubs(LAYERS))
    """The classes that the user has to write."""

    def read(self, blob: Blob, layout: Layout) -> Tensor:
        """The tensor of a blob in a layout, transposed where it lies otherwise."""
        tensor, given = self.tensors[blob], self.layouts[blob]
        if given == layout:
            return tensor
        key = (blob, layout)
        if key not in self.converted:
            perm = tuple(given.perm.index(axis) for axis in layout.perm)
            step = self._transpose(blob, perm)
            self.program.steps.append(Step(step, (tensor,), (Tensor(blob.name),)))
            self.converted[key] = self.program.steps[-1].outputs[0]
        return self.converted[key]

    def add_array(self, stem: str, array: FloatArray) -> str:
        """The name of the file that an array gets: `stem`.npy, then `stem`_2.npy."""
        stem = self.prefix + stem
        taken = sum(name.startswith(stem) for name in self.arrays)
        name = f"{stem}_{taken + 1}.npy" if taken else f"{stem}.npy"
        self.arrays[name] = array
        return name

    def _transpose(self, blob: Blob, perm: tuple[int, ...]) -> KerasLayer:
        name = self.names.claim(f"{keras_name(blob.name)}_transpose")
        if perm[0] == 0:
            return KerasLayer(name, Call(keras_layer("Permute"), (perm[1:],)))
        return KerasLayer(name, Call(runtime("shaping", "Transpose"), (perm,)))


class Lowering:
    """One layer being lowered. Shapes are Caffe's; `inputs` lie in `in_layouts`."""

    def __init__(
        self,
        whole: LoweredNet,
        layer: Layer,
        in_layouts: Sequence[Layout],
        out_layouts: Sequence[Layout],
    ) -> None:
        self._whole = whole
        self.layer = layer
        self.in_layouts = tuple(in_layouts)
        self.out_layouts = tuple(out_layouts)
        net = whole.net
        self.bottom: list[Shape] = [net.shapes[b] for b in layer.bottoms]
        self.top: list[Shape] = [net.shapes[t] for t in layer.tops if t in net.shapes]
        self.params: tuple[Shape, ...] = net.param_shapes.get(layer.index, ())
        self.form = whole.form
        self.activation = net.activations.get(layer.index)
        self.trains = Phase.TRAIN in net.phases
        self.tests = Phase.TEST in net.phases
        self._comments = layer.comments

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """The layer's bottoms, in `in_layouts`; asked for once, as steps may be added."""
        propagates = list(self.layer.message.propagate_down)
        tensors: list[Tensor] = []
        for i, (blob, tensor) in enumerate(
            zip(self.layer.bottoms, self.unstopped_inputs, strict=True)
        ):
            if i < len(propagates) and not propagates[i]:
                tensor = self._stopped(blob, tensor)
            tensors.append(tensor)
        return tuple(tensors)

    @cached_property
    def unstopped_inputs(self) -> tuple[Tensor, ...]:
        """The layer's bottoms, for a layer that heeds `propagate_down` itself."""
        pairs = zip(self.layer.bottoms, self.in_layouts, strict=True)
        return tuple(self._whole.read(blob, layout) for blob, layout in pairs)

    def _stopped(self, blob: Blob, tensor: Tensor) -> Tensor:
        """A tensor behind which `propagate_down: false` ends the gradient."""
        if blob in self._whole.sources:
            return tensor
        target = runtime("gradients", "StopGradient")
        return self.add(target, inputs=[tensor], suffix=f"stop_{keras_name(blob.name)}")

    def model_input(self) -> Tensor:
        """The first input of the model, for a layer that has none of its own."""
        for blob in self._whole.sources:
            return self._whole.tensors[blob]
        raise OpError(
            "no-input",
            f"layer `{self.layer.name}` needs a model with an input, but the net reads no "
            "data",
            help="add an Input layer",
        )

    def warn(self, difference: OpError) -> None:
        """Says in which way the Keras model differs from the layer."""
        self._whole.warnings.append((self.layer, difference))

    def keras_axis(self, caffe_axis: int, index: int = 0) -> int:
        """The Keras axis of a Caffe axis of the index-th input."""
        return self.in_layouts[index].keras_axis(caffe_axis)

    @property
    def sharers(self) -> list[Layer]:
        """The layers whose first parameter is this one's, itself among them."""
        net = self._whole.net

        def owner(layer: Layer) -> ParamKey:
            return net.owners.get((layer.index, 0), (layer.index, 0))

        return [layer for layer in net.layers if owner(layer) == owner(self.layer)]

    @property
    def shares_partly(self) -> bool:
        """Whether another layer has some of the parameters, but not all."""
        return self._whole.net.shares_partly(self.layer)

    def shape_of(self, blob: Blob, *, largest: bool = False) -> Shape:
        """The shape of any blob of the net; `largest` of both phases, not None."""
        net = self._whole.net
        shape = net.shapes[blob]
        return net.largest_shapes.get(blob, shape) if largest else shape

    def stub(self, origin: Origin, use: Use) -> Target:
        """The class that the user has to write for a layer."""
        return self._whole.stubs.use(origin, use)

    def data_format(self) -> dict[str, Argument]:
        """The `data_format` argument, where it is not Keras's default."""
        return {} if self.form.is_channels_last else {"data_format": self.form.name}

    def weight(
        self, name: str, blob: int, steps: Steps = (), *, trainable: bool = True
    ) -> PlannedWeight:
        """A Keras weight that holds the layer's blob-th parameter after `steps`."""
        layer = self.layer
        shape = tuple(dim if dim is not None else -1 for dim in self.params[blob])
        return PlannedWeight(name, layer.name, blob, shape, steps, trainable=trainable)

    def add(
        self,
        target: Target,
        *args: Argument,
        inputs: Sequence[Tensor] | None = None,
        suffix: str | None = "",
        weights: Sequence[PlannedWeight] = (),
        **kwargs: Argument,
    ) -> Tensor:
        """Applies a new layer and returns its output; see `add_many` for several."""
        return self.add_many(
            target, *args, inputs=inputs, suffix=suffix, weights=weights, **kwargs
        )[0]

    def add_many(
        self,
        target: Target,
        *args: Argument,
        inputs: Sequence[Tensor] | None = None,
        suffix: str | None = "",
        outputs: int = 1,
        weights: Sequence[PlannedWeight] = (),
        call_with: Mapping[str, Argument] | None = None,
        **kwargs: Argument,
    ) -> tuple[Tensor, ...]:
        """Applies a layer to tensors (the layer's own inputs if none are named).

        The main one gets the Caffe layer's name; a helper beside it, such as the padding
        before a convolution, gets the name with a `suffix`, or none where that is None.
        `call_with` are keyword arguments of the call on the tensors.
        """
        call = Call(target, args, tuple(kwargs.items()))
        layer = self._keras_layer(call, suffix, tuple(weights))
        made = tuple(Tensor(self._hint(i, outputs)) for i in range(outputs))
        taken = self.inputs if inputs is None else tuple(inputs)
        more = tuple((call_with or {}).items())
        self._whole.program.steps.append(Step(layer, taken, made, self._comments, more))
        self._comments = ()
        return made

    def _hint(self, index: int, outputs: int) -> str:
        tops = self.layer.tops
        if outputs == len(tops):
            return tops[index].name
        return tops[0].name if tops else self.layer.name

    def _keras_layer(
        self, call: Call, suffix: str | None, weights: tuple[PlannedWeight, ...]
    ) -> KerasLayer:
        owners = self._whole.net.owners
        keys = [(self.layer.index, w.blob_index) for w in weights]
        key = tuple(owners.get(k, k) for k in keys)
        if weights and key in self._whole.shared:
            known = self._whole.shared[key]
            same_steps = [w.steps for w in known.weights] == [w.steps for w in weights]
            same_call = _without_initializers(known.call) == _without_initializers(call)
            if not (same_steps and same_call):
                raise self._partly_shared()
            return known
        if any(k in owners for k in keys):
            raise self._partly_shared()
        if suffix is None:
            return KerasLayer(None, call, (), self.layer.name, self.layer.index)
        name = keras_name(self.layer.name) + (f"_{suffix}" if suffix else "")
        layer = KerasLayer(
            self._whole.names.claim(name),
            call,
            weights,
            self.layer.name,
            self.layer.index,
        )
        if weights:
            self._whole.shared[key] = layer
        return layer

    def _partly_shared(self) -> OpError:
        return OpError(
            "partial-sharing",
            f"layer `{self.layer.name}` shares some of its parameters, or has other "
            "settings than the layer that it shares with",
            field="param",
            help="Keras shares whole layers: share every blob between layers with "
            "equal settings; only Convolution, Deconvolution and InnerProduct may have a "
            "kernel or a bias of their own",
        )

    def find_file(self, named: str) -> Path | None:
        """A file that the layer names."""
        return find_beside(named, self._whole.root)

    def add_array(self, stem: str, array: FloatArray) -> str:
        """The name of a .npy file beside model.py, which will hold an array."""
        return self._whole.add_array(stem, array)

    def output(self, *tensors: Tensor) -> None:
        """Says which tensors are the layer's tops, in their order."""
        if len(tensors) != len(self.layer.tops):
            raise ValueError(f"{self.layer.name}: one tensor for each top")
        for index, tensor in enumerate(tensors):
            self.output_one(index, tensor)

    def output_one(self, index: int, tensor: Tensor) -> None:
        """Says which tensor is the index-th top."""
        top = self.layer.tops[index]
        self._whole.tensors[top] = tensor
        self._whole.layouts[top] = self.out_layouts[index]

    def loss(self, call: Call, weight: float, *, endpoint: bool = False) -> None:
        """A loss over (prediction, label, ...): for compile() where that can hold it,
        else an endpoint in the model."""
        prediction, label = self.layer.bottoms[:2]
        program, top = self._whole.program, self.layer.tops[0]
        taken = any(term.output == prediction.name for term in program.losses)
        plain = (
            self.can_measure
            and len(self.layer.bottoms) == 2
            and all(self.layer.message.propagate_down[:1])
        )
        if plain and not taken and not endpoint and self._is_unread(top):
            term = LossTerm(
                caffe_name=self.layer.name,
                top=top.name,
                output=prediction.name,
                target_blob=label.name,
                call=call,
                comments=self._comments,
                weight=weight,
            )
            program.losses.append(term)
            return
        target = runtime("endpoint", "LossEndpoint")
        scale: dict[str, Argument] = {} if weight == 1 else {"loss_weight": weight}
        self.output_one(0, self.add(target, call, **scale))

    @property
    def can_measure(self) -> bool:
        """Whether compile() can hold the prediction against the label."""
        prediction, label = self.layer.bottoms[:2]
        return label in self._whole.sources and self._is_last_version(prediction)

    def metric(self, call: Call, top: int = 0) -> None:
        """A metric over (prediction, label)."""
        prediction, label = self.layer.bottoms[:2]
        if not self.can_measure:
            raise OpError(
                "computed-label",
                f"layer `{self.layer.name}` measures against `{label.name}`, which the "
                "net computes; a Keras metric needs a label that comes from the data",
                field="bottom",
                index=1,
                help="read the blob of the data layer, or remove the layer",
            )
        term = MetricTerm(
            caffe_name=self.layer.name,
            top=self.layer.tops[top].name,
            output=prediction.name,
            target_blob=label.name,
            call=call,
            comments=self._comments,
        )
        self._whole.program.metrics.append(term)

    def _is_unread(self, blob: Blob) -> bool:
        return not any(blob in layer.bottoms for layer in self._whole.net.layers)

    def _is_last_version(self, blob: Blob) -> bool:
        """Whether the blob's name means this value at the end of the net."""
        return Blob(blob.name, blob.version + 1) not in self._whole.net.shapes


def _without_initializers(call: Call) -> Call:
    kept = tuple((k, v) for k, v in call.kwargs if not k.endswith("initializer"))
    return Call(call.target, call.args, kept)
