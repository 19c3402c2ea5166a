"""Caffe's fillers as Keras initializers (filler.hpp)."""

from __future__ import annotations

import math

from caffe2k.codegen.program import Argument, Call, Target, runtime
from caffe2k.diagnostics import did_you_mean
from caffe2k.ir.net import Shape, count
from caffe2k.ops.errors import OpError
from caffe2k.schema.message import Message

_TYPES = (
    "constant",
    "uniform",
    "gaussian",
    "xavier",
    "msra",
    "positive_unitball",
    "bilinear",
)
_VARIANCE = {"xavier": (1.0, "uniform"), "msra": (2.0, "untruncated_normal")}


def initializer(
    filler: Message, blob: Shape, field: str, *, axis: int | tuple[int, ...] = -1
) -> Argument:
    """The initializer that a filler is, for a parameter of Caffe shape `blob`.

    `field` is the filler's dotted path, for diagnostics. `axis` is where the Keras weight
    has the first axis of the blob: the last one in kernels of Dense and convolutions.
    Raises OpError for a filler that Caffe does not know, or settings that it refuses.
    """
    kind = filler.type
    # What a type does not use, Caffe's filler ignores: a `std` beside "xavier".
    filler.mark_read("value", "min", "max", "mean", "std", "variance_norm")
    sparse = filler.sparse
    if sparse != -1 and kind != "gaussian":
        raise OpError(
            "sparse-filler",
            f"a filler of type `{kind}` can't be sparse",
            field=f"{field}.sparse",
            help='remove it, or use type: "gaussian"',
        )
    if kind == "constant":
        return constant(filler.value)
    if kind == "uniform":
        return _keras("RandomUniform", filler.min, filler.max)
    if kind == "gaussian":
        if sparse >= 0:
            return _sparse_gaussian(filler, axis)
        return _normal(filler.mean, filler.std)
    if kind in _VARIANCE:
        return _variance_scaling(kind, filler.variance_norm, blob, axis == -1)
    if kind == "positive_unitball":
        target = runtime("initializers", "PositiveUnitball")
        return Call(target, (), _unless_last(axis))
    if kind == "bilinear":
        return Call(runtime("initializers", "Bilinear"))
    raise OpError(
        "unknown-filler",
        f"Caffe has no filler of type `{kind}`",
        field=f"{field}.type",
        help=did_you_mean(kind, _TYPES) or f"it is one of {', '.join(_TYPES)}",
    )


def constant(value: float) -> Argument:
    """A constant initializer, by its short name where it has one."""
    if value in (0.0, 1.0):
        return "zeros" if value == 0.0 else "ones"
    return _keras("Constant", value)


def _keras(name: str, *args: Argument, **kwargs: Argument) -> Call:
    return Call(Target("keras.initializers", name), args, tuple(kwargs.items()))


def _sparse_gaussian(filler: Message, axis: int | tuple[int, ...]) -> Call:
    """Each value survives with probability sparse / num_output."""
    target = runtime("initializers", "SparseGaussian")
    return Call(target, (filler.mean, filler.std, filler.sparse), _unless_last(axis))


def _unless_last(axis: int | tuple[int, ...]) -> tuple[tuple[str, Argument], ...]:
    return () if axis == -1 else (("axis", axis),)


def _variance_scaling(kind: str, norm: str, blob: Shape, same_fan_in: bool) -> Argument:
    """xavier and msra; the fans are counted on Caffe's blob, groups and all.

    Where Keras would count another number, the range is given in figures.
    """
    scale, distribution = _VARIANCE[kind]
    if norm == "FAN_IN" and same_fan_in and len(blob) > 1:
        if kind == "xavier":
            return "lecun_uniform"
        return _keras("VarianceScaling", scale, "fan_in", distribution)
    total = count(blob)
    fan_in = total // (blob[0] or 1)
    fan_out = total // (blob[1] or 1) if len(blob) > 1 else total
    fan = {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}[
        norm
    ]
    if kind == "xavier":
        limit = round(math.sqrt(3 / fan), 8)
        return _keras("RandomUniform", -limit, limit)
    return _normal(0.0, round(math.sqrt(2 / fan), 8))


def _normal(mean: float, std: float) -> Call:
    if mean == 0:
        return _keras("RandomNormal", stddev=std)
    return _keras("RandomNormal", mean, std)
