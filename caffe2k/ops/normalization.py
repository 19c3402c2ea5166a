"""LRN and BatchNorm: values divided by what their neighbours or their channel are like."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.net import Layer, Phase, Shape
from caffe2k.ops.base import BackwardReads, DataShapes, ElementwiseOp, SpatialOp
from caffe2k.ops.errors import OpError, not_images
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.weights.transforms import IDENTITY, reorder_axis


@layer_op("LRN")
class LRN(SpatialOp):
    """Local response normalization, across channels or within one (lrn_layer.cpp)."""

    keras = "caffe_runtime.normalization.LRN"
    backward_reads = BackwardReads.VALUE

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        size = self.layer.message.lrn_param.local_size
        if size % 2 == 0:
            raise OpError(
                "local-size",
                f"`local_size` must be odd, not {size}",
                field="lrn_param.local_size",
                help=f"take {size + 1}, so that the window has a middle",
            )
        if len(bottom[0]) != 4:
            raise not_images(self.layer, bottom[0])
        return [bottom[0]]

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.lrn_param
        p.mark_read("engine")
        within = p.norm_region == "WITHIN_CHANNEL"
        given: dict[str, Argument] = {
            "local_size": p.local_size,
            "alpha": p.alpha,
            "beta": p.beta,
            # WITHIN_CHANNEL adds 1 whatever `k` says.
            "k": 1.0 if within else p.k,
            "norm_region": p.norm_region,
            "axis": -1 if k.form.is_channels_last else 1,
        }
        if within:
            p.mark_read("k")
        defaults = {
            "local_size": 5,
            "alpha": 1.0,
            "beta": 0.75,
            "k": 1.0,
            "norm_region": "ACROSS_CHANNELS",
            "axis": -1,
        }
        settings = {n: v for n, v in given.items() if v != defaults[n]}
        k.output(k.add(runtime("normalization", "LRN"), **settings))


@layer_op("BatchNorm")
class BatchNorm(ElementwiseOp):
    """Statistics of the batch in TRAIN, running ones in TEST (batch_norm_layer.cpp).

    With `scale_bias`, or a filler for one of them, it is NVIDIA's (NVIDIA/caffe,
    batch_norm_layer.cpp): it has a scale and a bias, does not heed use_global_stats, and
    sets the multipliers of its parameters itself.
    """

    keras = (
        "caffe_runtime.normalization.BatchNorm, caffe_runtime.scaled_norm."
        "ScaledBatchNorm"
    )
    phase_dependent = ("batch_norm_param.use_global_stats",)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        p = layer.message.batch_norm_param
        fillers = p.has("scale_filler") or p.has("bias_filler")
        self.is_scaled = bool(p.scale_bias) or fillers

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if self.is_scaled:
            self._check_scaled(bottom[0])
            return super().infer_shapes(bottom, data)
        for i, spec in enumerate(self.layer.params):
            if spec.lr_mult not in (None, 0.0):
                raise OpError(
                    "batchnorm-lr",
                    f"the statistics of layer `{self.layer.name}` are no parameters to "
                    "learn: each `param` must have lr_mult 0",
                    field="param",
                    index=i,
                    help="write `lr_mult: 0`, or give the layer no `param` at all",
                )
        return super().infer_shapes(bottom, data)

    def _check_scaled(self, bottom: Shape) -> None:
        """What NVIDIA's LayerSetUp demands."""
        if len(bottom) < 4:
            raise not_images(self.layer, bottom)

    @property
    def multipliers(self) -> Sequence[tuple[float, float]]:
        """NVIDIA's LayerSetUp sets them, whatever `param` says."""
        return [(0, 0)] * 3 + [(1, 1)] * 2 if self.is_scaled else ()

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        channels = bottom[0][1] if len(bottom[0]) > 1 else 1
        statistics: list[Shape] = [(channels,), (channels,), (1,)]
        return statistics + [(channels,)] * (2 if self.is_scaled else 0)

    def lower(self, k: Lowering) -> None:
        p, layout = self.layer.message.batch_norm_param, k.in_layouts[0]
        arguments: dict[str, Argument] = {}
        epsilon = max(p.eps, 1e-5) if self.is_scaled else p.eps
        if epsilon != 1e-5:
            arguments["epsilon"] = epsilon
        if p.moving_average_fraction != 0.999:
            arguments["moving_average_fraction"] = p.moving_average_fraction
        statistics = self._use_global_stats(k)
        if statistics is not None:
            arguments["use_global_stats"] = statistics
        axis = layout.keras_axis(1) if layout.rank > 1 else None
        if axis != layout.rank - 1:
            arguments["axis"] = axis
        channels = tuple(d or 0 for d in k.params[0])
        steps = reorder_axis(channels, 0, layout.order)
        third = "correction" if self.is_scaled else "scale_factor"
        weights = [
            k.weight("mean", 0, steps, trainable=False),
            k.weight("variance", 1, steps, trainable=False),
            k.weight(third, 2, IDENTITY, trainable=False),
        ]
        target = runtime("normalization", "BatchNorm")
        if self.is_scaled:
            target = runtime("scaled_norm", "ScaledBatchNorm")
            # Keras keeps weights that learn in front of others.
            weights[:0] = [k.weight("scale", 3, steps), k.weight("bias", 4, steps)]
            arguments |= self._starts(k)
        k.output(k.add(target, weights=weights, **arguments))

    def _starts(self, k: Lowering) -> dict[str, Argument]:
        """How scale and bias start, where it is not with 1 and 0."""
        p, found = self.layer.message.batch_norm_param, dict[str, Argument]()
        for name, blob, usual in (("scale", 3, "ones"), ("bias", 4, "zeros")):
            if p.has(f"{name}_filler"):
                path = f"batch_norm_param.{name}_filler"
                start = initializer(getattr(p, f"{name}_filler"), k.params[blob], path)
                if start != usual:
                    found[f"{name}_initializer"] = start
        return found

    def _use_global_stats(self, k: Lowering) -> bool | None:
        """What both phases do, or None where TRAIN uses the batch and TEST does not."""
        if self.is_scaled:
            self.layer.message.batch_norm_param.mark_read("use_global_stats", "engine")
            return False if k.layer.phases == {Phase.TRAIN} else None
        train = self.layer.message.batch_norm_param
        test = (self.layer.test_message or self.layer.message).batch_norm_param
        choices = {
            Phase.TRAIN: train.use_global_stats
            if train.has("use_global_stats")
            else False,
            Phase.TEST: test.use_global_stats if test.has("use_global_stats") else True,
        }
        wanted = {choices[phase] for phase in k.layer.phases}
        if wanted == {True, False}:
            if choices[Phase.TRAIN]:
                raise OpError(
                    "global-stats",
                    f"layer `{self.layer.name}` uses the batch's statistics in TEST only",
                    field="batch_norm_param.use_global_stats",
                    help="translate one phase with --phase",
                )
            return None
        if k.layer.phases == {Phase.TEST} and not test.has("use_global_stats"):
            return None
        return bool(wanted.pop())
