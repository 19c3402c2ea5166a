"""BatchReindex and Filter: samples chosen by a blob."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan, at_least, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op


def _batch_first(given: Layout) -> Layout:
    """The layout itself, if its first axis is Caffe's; else Caffe's own."""
    return given if given.perm[0] == 0 else caffe_layout(given.rank)


@layer_op("BatchReindex")
class BatchReindex(LayerOp):
    """The samples that the second bottom lists (batch_reindex_layer.cpp)."""

    messages = ()
    keras = "caffe_runtime.rows.BatchReindex"
    bottoms = exactly(2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if len(bottom[1]) != 1 or not bottom[0]:
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` takes a list of samples, not a blob of shape "
                f"{bottom[1]}",
                field="bottom",
                index=1,
                help="a Reshape layer can give it one axis",
            )
        return [(bottom[1][0], *bottom[0][1:])]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        first = _batch_first(given[0])
        return LayoutPlan([first, caffe_layout(1)], [first])

    def lower(self, k: Lowering) -> None:
        k.output(k.add(runtime("rows", "BatchReindex")))


@layer_op("Filter")
class Filter(LayerOp):
    """The samples whose entry in the last bottom is not 0 (filter_layer.cpp)."""

    messages = ()
    keras = "caffe_runtime.rows.Filter"
    bottoms = at_least(2)
    tops = at_least(1)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        *blobs, selector = bottom
        if len(self.layer.tops) != len(blobs):
            raise OpError(
                "top-count",
                f"layer `{self.layer.name}` needs a top for each bottom but the last, the "
                "selector",
                field="top",
                help=f"write {len(blobs)} `top` lines",
            )
        if any(size != 1 for size in selector[1:]) or not selector:
            raise self._mismatch(
                "a selector of one value a sample", selector, len(blobs)
            )
        for index, shape in enumerate(blobs):
            if shape[:1] != selector[:1]:
                raise self._mismatch(f"{selector[0]} samples", shape, index)
        return list(blobs)

    def _mismatch(self, wanted: str, shape: Shape, index: int) -> OpError:
        return OpError(
            "bottom-shapes",
            f"layer `{self.layer.name}` needs {wanted}, not a blob of shape {shape}",
            field="bottom",
            index=index,
            help="the selector has as many entries as each bottom has samples",
        )

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        kept = [_batch_first(layout) for layout in given[:-1]]
        return LayoutPlan([*kept, given[-1]], kept)

    def lower(self, k: Lowering) -> None:
        outputs = len(self.layer.tops)
        k.output(*k.add_many(runtime("rows", "Filter"), outputs=outputs))
