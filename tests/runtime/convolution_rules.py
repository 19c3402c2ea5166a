"""NumPy readings of convolution layers, in Caffe's axis order."""

import numpy as np


def _places(kernel, sizes, stride, dilation):
    """Each place in the kernel, and the slices of the large side that it meets."""
    for place in np.ndindex(*kernel):
        yield (
            place,
            tuple(
                slice(d * k, d * k + s * (n - 1) + 1, s)
                for k, n, s, d in zip(place, sizes, stride, dilation, strict=True)
            ),
        )


def _extent(kernel, dilation):
    return np.array(dilation) * (np.array(kernel) - 1) + 1


def _inner(sizes, pad):
    return tuple(slice(p, n - p) for n, p in zip(sizes, pad, strict=True))


def convolution(x, w, b, stride, pad, dilation, group, dout_of):
    """base_conv_layer.cpp: (top, x's, w's and b's gradients) for dout_of(top)."""
    n, channels, *sizes = x.shape
    outputs, _, *kernel = w.shape
    extent = _extent(kernel, dilation)
    room = np.array(sizes) + 2 * np.array(pad) - extent
    out = tuple(np.trunc(room / np.array(stride)).astype(int) + 1)
    # im2col takes what lies outside as zeros, also where the one window is too large.
    padded = np.zeros((n, channels, *(np.maximum(room, 0) + extent)))
    inner = tuple(slice(p, p + size) for p, size in zip(pad, sizes, strict=True))
    padded[(slice(None), slice(None), *inner)] = x
    split = (group, channels // group)
    weights = w.reshape(group, outputs // group, channels // group, *kernel)
    top = np.zeros((n, outputs, *out))
    for place, cut in _places(kernel, out, stride, dilation):
        part = padded[(slice(None), slice(None), *cut)].reshape(n, *split, *out)
        top += np.einsum(
            "ngi...,goi->ngo...", part, weights[(slice(None),) * 3 + place]
        ).reshape(top.shape)
    if b is not None:
        top += b.reshape(-1, *[1] * len(out))
    dout = dout_of(top).reshape(n, group, outputs // group, *out)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(weights, "f8")
    for place, cut in _places(kernel, out, stride, dilation):
        at = (slice(None), slice(None), *cut)
        part = padded[at].reshape(n, group, channels // group, -1)
        flat = dout.reshape(n, group, outputs // group, -1)
        dw[(slice(None),) * 3 + place] = np.einsum("ngip,ngop->goi", part, flat)
        dpadded[at] += np.einsum(
            "ngo...,goi->ngi...", dout, weights[(slice(None),) * 3 + place]
        ).reshape(dpadded[at].shape)
    dx = dpadded[(slice(None), slice(None), *inner)]
    db = dout.reshape(n, outputs, -1).sum((0, 2))
    return top, dx, dw.reshape(w.shape), db


def deconvolution(x, w, b, stride, pad, dilation, group, dout_of):
    """deconv_layer.cpp: the same, with the two directions exchanged."""
    n, channels, *sizes = x.shape
    _, each, *kernel = w.shape
    outputs = each * group
    full = np.array(stride) * (np.array(sizes) - 1) + _extent(kernel, dilation)
    inner = (slice(None), slice(None), *_inner(full, pad))
    parts = x.reshape(n, group, channels // group, *sizes)
    weights = w.reshape(group, channels // group, each, *kernel)
    whole = np.zeros((n, outputs, *full))
    for place, cut in _places(kernel, sizes, stride, dilation):
        whole[(slice(None), slice(None), *cut)] += np.einsum(
            "ngi...,gio->ngo...", parts, weights[(slice(None),) * 3 + place]
        ).reshape(n, outputs, *sizes)
    top = whole[inner]
    if b is not None:
        top = top + b.reshape(-1, *[1] * len(sizes))
    dout = dout_of(top)
    dwhole = np.zeros_like(whole)
    dwhole[inner] = dout
    dx, dw = np.zeros(parts.shape), np.zeros_like(weights, "f8")
    for place, cut in _places(kernel, sizes, stride, dilation):
        part = dwhole[(slice(None), slice(None), *cut)].reshape(n, group, each, *sizes)
        dx += np.einsum("ngo...,gio->ngi...", part, weights[(slice(None),) * 3 + place])
        dw[(slice(None),) * 3 + place] = np.einsum(
            "ngip,ngop->gio",
            parts.reshape(n, group, channels // group, -1),
            part.reshape(n, group, each, -1),
        )
    db = dout.reshape(n, outputs, -1).sum((0, 2))
    return top, dx.reshape(x.shape), dw.reshape(w.shape), db
