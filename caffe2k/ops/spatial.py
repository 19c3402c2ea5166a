"""Kernel, stride, pad and dilation of convolution and pooling layers, one an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2k.codegen.program import Argument
from caffe2k.ir.net import Dim, Layer, Shape
from caffe2k.ops.errors import OpError
from caffe2k.schema.message import Message

Sizes = tuple[int, ...]

_PATH = "convolution_param"


@dataclass(frozen=True)
class Geometry:
    """The settings of a convolution over an input of known rank, one number an axis."""

    kernel: Sizes
    stride: Sizes
    pad: Sizes
    dilation: Sizes

    @classmethod
    def of(cls, layer: Layer, axes: int) -> Geometry:
        """What `convolution_param` says; raises OpError where Caffe refuses it."""
        p = layer.message.convolution_param
        return cls(
            per_axis(p, "kernel_size", axes, None, _PATH),
            per_axis(p, "stride", axes, 1, _PATH),
            per_axis(p, "pad", axes, 0, _PATH),
            per_axis(p, "dilation", axes, 1, _PATH),
        )

    @property
    def extent(self) -> Sizes:
        """What a dilated kernel covers."""
        pairs = zip(self.kernel, self.dilation, strict=True)
        return tuple(d * (k - 1) + 1 for k, d in pairs)

    @property
    def keeps_size(self) -> bool:
        """Whether this is Keras's padding="same"."""
        pairs = zip(self.pad, self.extent, strict=True)
        return set(self.stride) == {1} and all(2 * p == e - 1 for p, e in pairs)

    def windows(self, layer: Layer, sizes: Shape) -> list[Dim]:
        """How many places the kernel takes along each axis of an input.

        An input that is too small by less than a stride has room for one, since C++
        rounds the quotient towards zero (conv_layer.cpp, compute_output_shape).
        Raises OpError if there is none.
        """
        windows: list[Dim] = []
        for size, extent, stride, pad in zip(
            sizes, self.extent, self.stride, self.pad, strict=True
        ):
            padded = None if size is None else size + 2 * pad
            if padded is not None and padded + stride <= extent:
                raise OpError(
                    "kernel-too-large",
                    f"the kernel of layer `{layer.name}` covers {extent} values, the "
                    f"padded input has {padded}",
                    field=f"{_PATH}.kernel_size",
                    help="make the kernel smaller, or the `pad` larger",
                )
            room = None if padded is None else max(padded - extent, 0)
            windows.append(None if room is None else room // stride + 1)
        return windows

    def padding(self, sizes: Shape) -> tuple[tuple[int, int], ...]:
        """The zeros before and behind each axis of an input; no window lacks a value."""
        lacking = (
            0 if size is None else max(0, extent - size - 2 * pad)
            for size, extent, pad in zip(sizes, self.extent, self.pad, strict=True)
        )
        return tuple((p, p + more) for p, more in zip(self.pad, lacking, strict=True))


def per_axis(
    p: Message, field: str, axes: int, default: int | None, path: str
) -> Sizes:
    """A repeated setting as one number an axis (BaseConvolutionLayer::LayerSetUp).

    `kernel_size`, `stride`, `pad` and `dilation` hold nothing, one number, or one an
    axis; `kernel_h` and `kernel_w` and their like are for two axes only.
    """
    stem = field.removesuffix("_size")
    tall, wide = f"{stem}_h", f"{stem}_w"
    if tall in p.schema.fields and (p.has(tall) or p.has(wide)):
        if axes != 2 or p.has(field):
            raise OpError(
                "conflicting-sizes",
                f"`{tall}` and `{wide}` are for images, and instead of `{field}`",
                field=f"{path}.{tall if p.has(tall) else wide}",
                help=f"give both of them, or `{field}` alone",
            )
        return _positive((getattr(p, tall), getattr(p, wide)), field, f"{path}.{tall}")
    value = getattr(p, field)
    given: Sequence[int] = value if isinstance(value, list) else [value] * p.has(field)
    if not given:
        if default is None:
            raise OpError(
                "missing-kernel",
                "the layer has no `kernel_size`",
                field=path,
                help=f"add it to `{path}`",
            )
        return (default,) * axes
    if len(given) not in (1, axes):
        raise OpError(
            "conflicting-sizes",
            f"`{field}` has {len(given)} values for {axes} axes",
            field=f"{path}.{field}",
            help="give one for all axes, or one for each",
        )
    sizes = tuple(given) if len(given) == axes else (given[0],) * axes
    return _positive(sizes, field, f"{path}.{field}")


def _positive(sizes: Sizes, field: str, path: str) -> Sizes:
    least = 0 if field == "pad" else 1
    if min(sizes) < least:
        raise OpError(
            "bad-size",
            f"`{field}` must be at least {least}, not {min(sizes)}",
            field=path,
            help=f"the least that does anything is {least}"
            if field == "kernel_size"
            else f"without it, it is {least}",
        )
    return sizes


def one_or_each(sizes: Sizes) -> Argument:
    """One number where all axes agree, as Keras takes either."""
    return sizes[0] if len(set(sizes)) == 1 else sizes
