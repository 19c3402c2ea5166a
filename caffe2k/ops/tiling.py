"""Tile and Crop: a blob repeated along an axis, and a box cut out of one."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within
from caffe2k.ops.spatial import one_or_each


@layer_op("Tile")
class Tile(LayerOp):
    """The blob `tiles` times along `axis` (tile_layer.cpp)."""

    keras = "caffe_runtime.tiling.Tile"

    def _axis(self, bottom: Shape) -> int:
        axis = self.layer.message.tile_param.axis
        return axis_within(axis, bottom, self.layer, "tile_param.axis")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        axis, tiles = self._axis(bottom[0]), self.layer.message.tile_param.tiles
        if tiles < 1:
            raise OpError(
                "bad-size",
                f"layer `{self.layer.name}` does not say how many `tiles` it makes",
                field="tile_param.tiles",
                help="it takes at least 1",
            )
        size = bottom[0][axis]
        tiled = None if size is None else size * tiles
        return [(*bottom[0][:axis], tiled, *bottom[0][axis + 1 :])]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        (layout,) = given
        if layout.order and layout.ordered_axis == self._axis(bottom[0]):
            tiles = self.layer.message.tile_param.tiles
            tiled = Layout(layout.perm, layout.ordered_axis, layout.order * tiles)
            return LayoutPlan([layout], [tiled])
        return LayoutPlan([layout], [layout])

    def lower(self, k: Lowering) -> None:
        tiles = self.layer.message.tile_param.tiles
        axis = k.keras_axis(self._axis(k.bottom[0]))
        if tiles == 1:
            k.output(k.inputs[0])
        else:
            k.output(k.add(runtime("tiling", "Tile"), axis, tiles))


@layer_op("Crop")
class Crop(LayerOp):
    """A box of the first bottom, with the sizes of the second (crop_layer.cpp)."""

    keras = "Cropping2D, Cropping3D, caffe_runtime.tiling.Crop"
    bottoms = exactly(2)

    def _offsets(self, bottom: Sequence[Shape]) -> dict[int, int]:
        """Where the box starts along each axis that is cropped."""
        p, rank = self.layer.message.crop_param, len(bottom[0])
        first = axis_within(p.axis, bottom[0], self.layer, "crop_param.axis")
        axes, given = range(first, rank), list(p.offset) or [0]
        if len(given) not in (1, len(axes)):
            raise OpError(
                "crop-offset",
                f"layer `{self.layer.name}` has {len(given)} `offset` for the "
                f"{len(axes)} axes from {first} on",
                field="crop_param.offset",
                help="give one for all axes, or one for each",
            )
        if len(bottom[1]) < rank:
            raise self._does_not_fit(bottom)
        offsets = given * len(axes) if len(given) == 1 else given
        return dict(zip(axes, offsets, strict=True))

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        sizes = list(bottom[0])
        for axis, offset in self._offsets(bottom).items():
            whole, part = bottom[0][axis], bottom[1][axis]
            if whole is not None and part is not None and whole - offset < part:
                raise self._does_not_fit(bottom)
            sizes[axis] = part
        return [tuple(sizes)]

    def _does_not_fit(self, bottom: Sequence[Shape]) -> OpError:
        return OpError(
            "crop-box",
            f"layer `{self.layer.name}` can't crop {bottom[0]} to {bottom[1]}",
            field="bottom",
            index=1,
            help="compare the pads and strides on both ways, and the offset",
        )

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        first = given[0].plain
        # The second bottom is asked for its sizes alone, in the order of the first.
        same = len(bottom[1]) == len(bottom[0])
        second = first if same and self._is_dynamic(bottom) else given[1]
        return LayoutPlan([first, second], [first])

    def _is_dynamic(self, bottom: Sequence[Shape]) -> bool:
        """Whether sizes are known at run time only; the batch, left alone, does not count."""
        offsets = self._offsets(bottom)
        return any(None in (bottom[0][a], bottom[1][a]) for a in offsets)

    def lower(self, k: Lowering) -> None:
        offsets = self._offsets(k.bottom)
        cut = [
            a for a in offsets if k.bottom[0][a] != k.top[0][a] or k.top[0][a] is None
        ]
        if not cut:
            k.output(k.inputs[0])
            return
        if not self.layer.message.has("crop_param"):
            k.warn(
                OpError(
                    "crop-aligned",
                    f"layer `{self.layer.name}` has no crop_param: its box begins at 0, "
                    "as in BVLC's Caffe; that of FCN and HED began where the paddings on "
                    "the way let both bottoms lie upon each other",
                    help="for such a net give crop_param { axis: 2 offset: N }, with the N "
                    "of pycaffe's caffe.coord_map",
                )
            )
        if self._is_dynamic(k.bottom):
            self._lower_dynamic(k, cut, offsets)
            return
        whole, part = k.bottom[0], k.top[0]
        borders = {
            axis: (
                offsets[axis],
                (whole[axis] or 0) - (part[axis] or 0) - offsets[axis],
            )
            for axis in cut
        }
        rank = len(whole)
        if min(cut) > 1 and rank in (4, 5) and k.in_layouts[0] == k.form.spatial(rank):
            box = tuple(borders.get(axis, (0, 0)) for axis in range(2, rank))
            target = keras_layer(f"Cropping{rank - 2}D")
            image = k.inputs[:1]
            k.output(k.add(target, _cropping(box), inputs=image, **k.data_format()))
            return
        axes = [k.keras_axis(axis) for axis in cut]
        starts, sizes = [offsets[axis] for axis in cut], [part[axis] for axis in cut]
        target = runtime("tiling", "Crop")
        k.output(k.add(target, axes, starts, sizes, inputs=k.inputs[:1]))

    def _lower_dynamic(
        self, k: Lowering, cut: list[int], offsets: dict[int, int]
    ) -> None:
        if len(k.bottom[1]) != len(k.bottom[0]):
            raise OpError(
                "phase-shapes",
                f"layer `{self.layer.name}` crops to sizes that differ between TRAIN and "
                "TEST",
                field="bottom",
                help="translate one phase with --phase",
            )
        axes = [k.keras_axis(axis) for axis in cut]
        starts = [offsets[axis] for axis in cut]
        k.output(k.add(runtime("tiling", "Crop"), axes, starts))


def _cropping(box: tuple[tuple[int, int], ...]) -> Argument:
    """The borders as Keras takes them: one number an axis where both are alike."""
    if all(before == after for before, after in box):
        return one_or_each(tuple(before for before, _ in box))
    return box
