"""What an op declares: shapes, parameters, layouts, and the Keras calls of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Layer, Shape

if TYPE_CHECKING:
    from caffe2k.ops.lowering import Lowering


WIRING = (
    "name",
    "type",
    "bottom",
    "top",
    "param",
    "include",
    "exclude",
    # Losses and metrics for compile() have no inputs that it could stop.
    "propagate_down",
    # What a caffemodel carries beside the definition.
    "blobs",
)
"""The fields of a layer that say how it hangs in the net: no op need read them."""


class BackwardReads(Enum):
    """What a layer's gradient depends on that an in-place layer behind it overwrites."""

    NOTHING = 0
    SIGN = 1
    VALUE = 2
    ALWAYS = 3
    """In place, it has overwritten what it needs itself: its input, or the gradient."""


class DataShapes(Protocol):
    """Where a data layer gets its shapes from: the data itself, or the user."""

    def of(self, layer: Layer) -> tuple[Shape, ...] | None:
        """The shapes of the layer's tops, batch included; None where unknown."""

    def given(self, blob: str) -> Shape | None:
        """The shape that the user gives a blob, batch included."""


UNKNOWN: Shape = (None,)
"""The shape of a blob whose writer alone knows it; compared by identity."""


@dataclass(frozen=True)
class Count:
    """How many bottoms or tops a layer takes; `most` is None for any number."""

    least: int
    most: int | None

    def __contains__(self, number: int) -> bool:
        return self.least <= number and (self.most is None or number <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        if self.least == self.most:
            return str(self.least)
        return f"{self.least} to {self.most}"


@dataclass(frozen=True)
class LayoutPlan:
    """The layouts that an op wants its inputs in, and those that its outputs have."""

    inputs: list[Layout]
    outputs: list[Layout]


def exactly(number: int) -> Count:
    return Count(number, number)


def at_least(number: int) -> Count:
    return Count(number, None)


class LayerOp:
    """One layer as its type's rules see it. Subclasses hold all that is known of a type."""

    bottoms: ClassVar[Count] = exactly(1)
    tops: ClassVar[Count] = exactly(1)
    same_count: ClassVar[bool] = False
    """Whether the layer needs as many tops as bottoms."""

    keras: ClassVar[str] = ""
    """What it becomes in Keras, for docs/layers.md."""

    messages: ClassVar[tuple[str, ...] | None] = None
    """The parameter messages that Caffe's layer looks at; None for the one alone that is
    called after the type."""

    ignores: ClassVar[tuple[str, ...]] = ()
    """Settings in these messages that it never looks at, as dotted paths."""

    is_source: ClassVar[bool] = False
    """Whether it brings data in: its tops are inputs or targets of the model."""

    is_loss: ClassVar[bool] = False
    """Whether it is a loss, whose first top weighs 1 unless loss_weight says otherwise."""

    is_metric: ClassVar[bool] = False
    """Whether it measures a prediction against a label, and has no gradient."""

    keeps_bottoms: ClassVar[bool] = False
    """Whether its bottoms leave the model as outputs."""

    is_stub: ClassVar[bool] = False
    """Whether the user has to write what it computes."""

    phase_dependent: ClassVar[tuple[str, ...]] = ()
    """Fields that may differ between a TRAIN and a TEST version of the same layer."""

    works_in_place: ClassVar[bool] = True
    """Whether its top may be its bottom; where not, its LayerSetUp says so."""

    keeps_sign: ClassVar[bool] = False
    """Whether a value that is not above 0 stays so, and one that is stays above 0."""

    orders_output: ClassVar[bool] = False
    """Whether its top's last axis can lie in any order, because weights make it."""

    takes_activation: ClassVar[bool] = False
    """Whether its Keras layer has an `activation` argument."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    @property
    def activation(self) -> str | None:
        """The Keras activation that says the same, if the layer is one."""
        return None

    @property
    def backward_reads(self) -> BackwardReads:
        """What Caffe's Backward looks at of the blob that the layer writes."""
        return BackwardReads.NOTHING

    @property
    def identity_in_test(self) -> bool:
        """Whether it does nothing in the TEST phase, so that TRAIN may have it alone."""
        return False

    def in_place_step(self) -> tuple[str, dict[str, Any]] | None:
        """The layer as a step of runtime/in_place.py, if it can be one."""
        return None

    @property
    def multipliers(self) -> Sequence[tuple[float, float]]:
        """lr_mult and decay_mult of each parameter, where the layer sets them itself."""
        return ()

    @property
    def loss_weights(self) -> list[float]:
        """What each top adds to the objective (Layer::SetLossWeights, layer.hpp)."""
        given = list(self.layer.message.loss_weight)
        if given:
            return given
        return [float(self.is_loss and i == 0) for i in range(len(self.layer.tops))]

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        """The tops' shapes from the bottoms', in Caffe's axis order, or OpError."""
        raise NotImplementedError

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        """The shapes of the parameter blobs that Caffe creates."""
        return []

    def multiply_adds(self, bottom: Sequence[Shape], top: Sequence[Shape]) -> int:
        """The multiplications of weights by values in one forward pass over the batch.

        Only layers of filters and of matrix products have any: what works value by value,
        pools or looks up counts as nothing, and so do biases.
        """
        return 0

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        """The layouts that the op wants its inputs in, and those that its outputs have.

        By default everything is in Caffe's own order.
        """
        return LayoutPlan(
            [caffe_layout(len(s)) for s in bottom], [caffe_layout(len(s)) for s in top]
        )

    def ordered_layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        """`layouts` where somebody can't take the order that the op would flatten to."""
        ordered = [caffe_layout(layout.rank) for layout in given]
        return self.layouts(ordered, bottom, top, form)

    def lower(self, k: Lowering) -> None:
        """Writes the Keras calls of the layer through `k`."""
        raise NotImplementedError


class ElementwiseOp(LayerOp):
    """An op that treats every value alike: any layout will do, and is passed on."""

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        return [bottom[0]] * len(self.layer.tops)

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return LayoutPlan([given[0]] * len(bottom), [given[0]] * len(top))


class SpatialOp(LayerOp):
    """An op over an image: channels last, or first, as the model's data format says."""

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return LayoutPlan(
            [form.spatial(len(s)) for s in bottom], [form.spatial(len(s)) for s in top]
        )
