"""Parameters shared by `param { name }`: who owns each, and how fast it learns."""

from __future__ import annotations

import dataclasses

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Layer, Net, ParamKey, ParamSpec, Shape, count
from caffe2k.ops import find_op


def share_params(net: Net, diagnostics: Diagnostics) -> Net:
    """Fills `owners` and `multipliers` as Net::AppendParam (net.cpp) does.

    After a mistake in a `param` nothing is shared: what shares with it can't be judged.
    """
    known = not any(layer.message.has_lost("param") for layer in net.layers)
    owners: dict[ParamKey, ParamKey] = {}
    specs: dict[ParamKey, ParamSpec] = {}
    by_name: dict[str, tuple[ParamKey, Shape, Layer]] = {}
    for layer in net.layers:
        shapes = net.param_shapes.get(layer.index, ())
        _check_param_count(layer, len(shapes), net, diagnostics)
        for i, shape in enumerate(shapes):
            spec, key = _spec(layer, i), (layer.index, i)
            if not known or not spec.name or spec.name not in by_name:
                specs[key] = spec
                if spec.name:
                    by_name[spec.name] = (key, shape, layer)
                continue
            owner, owner_shape, owner_layer = by_name[spec.name]
            if not _fits(spec, layer, shape, owner_layer, owner_shape, diagnostics):
                specs[key] = spec
                continue
            owners[key] = owner
            specs[owner] = _merge(specs[owner], spec, diagnostics)
    multipliers = {
        key: (
            1.0 if spec.lr_mult is None else spec.lr_mult,
            1.0 if spec.decay_mult is None else spec.decay_mult,
        )
        for key, spec in specs.items()
    }
    return net.replace(owners=owners, multipliers=multipliers)


def _spec(layer: Layer, index: int) -> ParamSpec:
    """What the layer's `param` says, or the layer itself instead."""
    spec, op = layer.param(index), find_op(layer.type)
    fixed = op(layer).multipliers if op is not None else ()
    if not fixed:
        return spec
    lr_mult, decay_mult = fixed[index]
    return dataclasses.replace(spec, lr_mult=lr_mult, decay_mult=decay_mult)


def _check_param_count(
    layer: Layer, number: int, net: Net, diagnostics: Diagnostics
) -> None:
    known = all(b in net.shapes for b in (*layer.bottoms, *layer.tops))
    op = find_op(layer.type)
    if op is not None and op.is_stub:
        return
    if known and len(layer.params) > number:
        diagnostics.error(
            "too-many-params",
            f"layer `{layer.name}` has {len(layer.params)} `param` blocks, "
            f"but {number} parameter blobs",
            layer.params[number].span,
            help="write one for each blob, the weights first, then the bias",
        )


def _fits(
    spec: ParamSpec,
    layer: Layer,
    shape: Shape,
    owner_layer: Layer,
    owner_shape: Shape,
    diagnostics: Diagnostics,
) -> bool:
    """Whether a parameter has its owner's shape, or, if permissive, its size."""
    if spec.permissive:
        fits = count(shape) == count(owner_shape)
    else:
        fits = shape == owner_shape
    if not fits:
        diagnostics.error(
            "shared-param-shape",
            f"layers `{owner_layer.name}` and `{layer.name}` share `{spec.name}`, "
            f"but their shapes are {owner_shape} and {shape}",
            spec.span,
            help="`share_mode: PERMISSIVE` needs only equal sizes"
            if count(shape) == count(owner_shape)
            else "give one of them another name, or both layers the same num_output",
        )
    return fits


def _merge(owner: ParamSpec, spec: ParamSpec, diagnostics: Diagnostics) -> ParamSpec:
    """The owner's spec with what only a sharer says; both may not say different things."""
    merged: dict[str, float | None] = {}
    for field in ("lr_mult", "decay_mult"):
        ours, theirs = getattr(owner, field), getattr(spec, field)
        if ours is not None and theirs is not None and ours != theirs:
            diagnostics.error(
                "shared-param-multiplier",
                f"shared parameter `{spec.name}` has {field} {ours:g} and {theirs:g}",
                spec.span,
                help="give it in one layer only, or alike in all",
            )
        merged[field] = theirs if ours is None else ours
    return ParamSpec(
        owner.name,
        merged["lr_mult"],
        merged["decay_mult"],
        owner.permissive,
        owner.span,
    )
