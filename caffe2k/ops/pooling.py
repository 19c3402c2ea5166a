"""Pooling: Keras's own where it computes the same, else Caffe's in the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2k.codegen.program import Argument, keras_layer, runtime
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import Count, DataShapes, SpatialOp
from caffe2k.ops.errors import OpError, not_images
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.spatial import Sizes, one_or_each, per_axis

_PATH = "pooling_param"
_KERAS = {"MAX": "Max", "AVE": "Average"}


@dataclass(frozen=True)
class Windows:
    """Where the windows of a pooling lie along height and width."""

    size: Sizes
    kernel: Sizes
    stride: Sizes
    pad: Sizes
    ceil: bool

    @property
    def pooled(self) -> Sizes:
        """Output height and width (PoolingLayer::Reshape)."""
        out = []
        for size, k, s, p in zip(
            self.size, self.kernel, self.stride, self.pad, strict=True
        ):
            steps = size + 2 * p - k
            out.append((-(-steps // s) if self.ceil else steps // s) + 1)
        if any(self.pad):
            for i, (size, s, p) in enumerate(
                zip(self.size, self.stride, self.pad, strict=True)
            ):
                if (out[i] - 1) * s >= size + p:
                    out[i] -= 1
        return tuple(out)

    @property
    def fits_valid(self) -> bool:
        """Whether Keras's padding="valid" has the same windows."""
        valid = tuple(
            (size - k) // s + 1
            for size, k, s in zip(self.size, self.kernel, self.stride, strict=True)
        )
        return not any(self.pad) and valid == self.pooled

    @property
    def fits_same(self) -> bool:
        """Whether Keras's padding="same" has the same windows.

        It pads max((out - 1) * stride + kernel - size, 0), the smaller half in front.
        """
        for size, k, s, p, out in zip(
            self.size, self.kernel, self.stride, self.pad, self.pooled, strict=True
        ):
            total = max((out - 1) * s + k - size, 0)
            if out != -(-size // s) or total // 2 != p:
                return False
        return True


@layer_op("Pooling")
class Pooling(SpatialOp):
    """Maximum, average or stochastic choice over windows (pooling_layer.cpp)."""

    keras = (
        "MaxPooling2D, AveragePooling2D, GlobalAveragePooling2D, caffe_runtime.pooling"
    )
    tops = Count(1, 2)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.pooling_param

    def windows(self, bottom: Shape) -> Windows:
        """The windows over this input; raises OpError where Caffe refuses them."""
        p = self.p
        if len(bottom) != 4 or bottom[2] is None or bottom[3] is None:
            raise not_images(self.layer, bottom)
        size: Sizes = (bottom[2], bottom[3])
        stride = per_axis(p, "stride", 2, 1, _PATH)
        pad = per_axis(p, "pad", 2, 0, _PATH)
        if p.global_pooling:
            if p.has("kernel_size") or p.has("kernel_h") or p.has("kernel_w"):
                raise OpError(
                    "global-pooling",
                    "`global_pooling` and a kernel size exclude each other",
                    field=f"{_PATH}.global_pooling",
                    help="remove one of them",
                )
            kernel = size
        else:
            kernel = per_axis(p, "kernel_size", 2, None, _PATH)
        self._check(kernel, stride, pad)
        return Windows(size, kernel, stride, pad, self._rounds_up())

    def _check(self, kernel: Sizes, stride: Sizes, pad: Sizes) -> None:
        p = self.p
        if p.global_pooling and (any(pad) or stride != (1, 1)):
            raise OpError(
                "global-pooling",
                "`global_pooling` takes no stride and no pad",
                field=f"{_PATH}.global_pooling",
                help="remove them: its one window is the whole image",
            )
        if any(pad) and p.pool == "STOCHASTIC":
            raise OpError(
                "bad-size",
                "STOCHASTIC pooling takes no pad",
                field=f"{_PATH}.pad",
                help="remove it; Caffe pads for MAX and AVE alone",
            )
        if pad[0] >= kernel[0] or pad[1] >= kernel[1]:
            raise OpError(
                "bad-size",
                "`pad` must be smaller than the kernel",
                field=f"{_PATH}.pad",
                help=f"with this kernel it is at most {min(kernel) - 1}",
            )

    def _rounds_up(self) -> bool:
        """`round_mode`, or the `ceil_mode` of forks that have it."""
        if self.p.has("ceil_mode"):
            return bool(self.p.ceil_mode)
        return bool(self.p.round_mode == "CEIL")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        pooled = self.windows(bottom[0]).pooled
        if min(pooled) < 1:
            raise OpError(
                "kernel-too-large",
                f"the windows of layer `{self.layer.name}` are larger than its input, "
                f"{bottom[0][2]} x {bottom[0][3]}",
                field=f"{_PATH}.kernel_size",
                help="make them smaller, or use global_pooling",
            )
        if len(self.layer.tops) == 2 and self.p.pool != "MAX":
            raise OpError(
                "top-count",
                "only MAX pooling has a mask as its second top",
                field="top",
                index=1,
                help="remove the top",
            )
        return [(*bottom[0][:2], *pooled)] * len(self.layer.tops)

    def lower(self, k: Lowering) -> None:
        p = self.p
        p.mark_read("engine")
        w = self.windows(k.bottom[0])
        size, arguments = one_or_each(w.kernel), self._runtime_arguments(k, w)
        if len(self.layer.tops) == 2:
            target = runtime("pooling", "MaxPooling2DWithMask")
            k.output(*k.add_many(target, size, outputs=2, **arguments))
        elif p.pool == "STOCHASTIC":
            target = runtime("pooling", "StochasticPooling2D")
            k.output(k.add(target, size, **arguments))
        elif p.global_pooling and p.pool == "AVE":
            target = keras_layer("GlobalAveragePooling2D")
            k.output(k.add(target, keepdims=True, **k.data_format()))
        else:
            self._plain(k, w)

    def _plain(self, k: Lowering, w: Windows) -> None:
        name, size = f"{_KERAS[self.p.pool]}Pooling2D", one_or_each(w.kernel)
        # A maximum does not see the padding; Keras's averages count it otherwise.
        pads_like_keras = w.fits_same and self.p.pool == "MAX"
        if not w.fits_valid and not pads_like_keras:
            arguments = self._runtime_arguments(k, w)
            k.output(k.add(runtime("pooling", name), size, **arguments))
            return
        arguments = {}
        if w.stride != w.kernel and w.pooled != (1, 1):
            arguments["strides"] = one_or_each(w.stride)
        if not w.fits_valid:
            arguments["padding"] = "same"
        k.output(k.add(keras_layer(name), size, **arguments, **k.data_format()))

    def _runtime_arguments(self, k: Lowering, w: Windows) -> dict[str, Argument]:
        found: dict[str, Argument] = {}
        if w.stride != (1, 1):
            found["strides"] = one_or_each(w.stride)
        if any(w.pad):
            found["padding"] = one_or_each(w.pad)
        if not w.ceil:
            found["ceil_mode"] = False
        return found | k.data_format()
