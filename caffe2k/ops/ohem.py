"""BoxAnnotatorOHEM: R-FCN's online hard example mining."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import runtime
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import legacy_shape
from caffe2k.ops.registry import layer_op


@layer_op("BoxAnnotatorOHEM")
class BoxAnnotatorOHEM(LayerOp):
    """Keeps the labels of the regions with the largest losses
    (daijifeng001/caffe-rfcn, box_annotator_ohem_layer.cpp)."""

    keras = "caffe_runtime.ohem.BoxAnnotatorOHEM"
    bottoms = exactly(4)
    tops = exactly(2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if self.layer.message.box_annotator_ohem_param.roi_per_img < 1:
            raise OpError(
                "missing-size",
                f"layer `{self.layer.name}` keeps no regions",
                field="box_annotator_ohem_param.roi_per_img",
                help="give how many of each image it keeps",
            )
        regions, losses, labels, weights = map(legacy_shape, bottom)
        number, _, *places = regions
        wanted = [(number, 5, *places), *[(number, 1, *places)] * 2]
        wanted.append((number, weights[1], *places))
        for i, shape in enumerate((regions, losses, labels, weights)):
            if shape != wanted[i]:
                raise OpError(
                    "bottom-shapes",
                    f"layer `{self.layer.name}` needs `{self.layer.bottoms[i].name}` of "
                    f"shape {wanted[i]}, not {bottom[i]}",
                    field="bottom",
                    index=i,
                    help="it reads regions, their losses, labels and box weights",
                )
        return [labels, weights]

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.box_annotator_ohem_param
        arguments = {} if p.ignore_label == -1 else {"ignore_label": p.ignore_label}
        target = runtime("ohem", "BoxAnnotatorOHEM")
        k.output(*k.add_many(target, p.roi_per_img, outputs=2, **arguments))
