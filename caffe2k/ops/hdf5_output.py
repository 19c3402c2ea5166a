"""HDF5Output: blobs that Caffe writes to a file, and Keras hands out."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op


@layer_op("HDF5Output")
class HDF5Output(LayerOp):
    """Two blobs become outputs of the model (hdf5_output_layer.cpp writes them).

    Caffe writes one batch: a second one ends in an error of HDF5. predict() gives the
    same arrays for as many batches as one wants.
    """

    keras = "outputs of the model"
    bottoms = exactly(2)
    tops = exactly(0)
    keeps_bottoms = True

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if bottom[0][:1] != bottom[1][:1]:
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` writes {bottom[0]} beside {bottom[1]}: it "
                "needs as many samples of each",
                field="bottom",
                index=1,
                help="both bottoms must have the same first size",
            )
        return []

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return LayoutPlan(list(given), [])

    def lower(self, k: Lowering) -> None:
        names = " and ".join(f"`{blob.name}`" for blob in self.layer.bottoms)
        file = self.layer.message.hdf5_output_param.file_name
        k.warn(
            OpError(
                "no-output-file",
                f"layer `{self.layer.name}` writes no `{file}`: {names} are outputs of "
                "the model instead",
                field="hdf5_output_param.file_name",
                help="write what predict() returns with h5py, as `data` and `label`",
            )
        )
