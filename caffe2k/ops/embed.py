"""Embed: a vector for each integer."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan
from caffe2k.ops.errors import OpError, missing_num_output
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op

_PATH = "embed_param"


@layer_op("Embed")
class Embed(LayerOp):
    """The vectors become a new last axis (embed_layer.cpp)."""

    keras = "Embedding, caffe_runtime.embedding.Embedding"

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.embed_param

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        name = self.layer.name
        if self.p.num_output < 1:
            raise missing_num_output(self.layer, _PATH)
        if self.p.input_dim < 1:
            raise OpError(
                "missing-input-dim",
                f"layer `{name}` has no `input_dim`",
                field=_PATH,
                help="say how many integers there are, counted from 0",
            )
        return [(*bottom[0], self.p.num_output)]

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        outputs: int = self.p.num_output
        vectors: Shape = (self.p.input_dim, outputs)
        return [vectors, (outputs,)] if self.p.bias_term else [vectors]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        integers = given[0].plain
        return LayoutPlan([integers], [Layout((*integers.perm, integers.rank))])

    def lower(self, k: Lowering) -> None:
        p = self.p
        target = keras_layer("Embedding")
        weights = [k.weight("embeddings", 0)]
        if p.bias_term:
            target = runtime("embedding", "Embedding")
            weights.append(k.weight("bias", 1))
        sizes = (p.input_dim, p.num_output)
        k.output(k.add(target, *sizes, weights=weights, **self._initializers(k)))

    def _initializers(self, k: Lowering) -> dict[str, Argument]:
        p, found = self.p, dict[str, Argument]()
        if k.trains or p.has("weight_filler"):
            found["embeddings_initializer"] = initializer(
                p.weight_filler,
                k.params[0],
                f"{_PATH}.weight_filler",
                axis=0,
            )
        if not p.bias_term:
            p.mark_read("bias_filler")
            return found
        bias = initializer(p.bias_filler, k.params[1], f"{_PATH}.bias_filler")
        if bias != "zeros":
            found["bias_initializer"] = bias
        return found
