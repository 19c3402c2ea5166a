"""NumPy readings of pooling over regions of (N, C, H, W): (top, planes' gradient)."""

import math

import numpy as np

F = np.float32


def c_round(value):
    """round() of C: halves away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))


def _clip(value, extent):
    return min(max(value, 0), extent)


def roi_pooling(x, rois, pooled, scale, dout_of):
    """roi_pooling_layer.cpp (forward) and .cu (backward) of caffe-fast-rcnn."""
    _, channels, height, width = x.shape
    top = np.full((len(rois), channels, *pooled), -np.finfo("float32").max, "float32")
    argmax = np.full(top.shape, -1)
    for n, roi in enumerate(rois):
        x1, y1, x2, y2 = (c_round(F(v) * F(scale)) for v in roi[1:5])
        step_h = F(max(y2 - y1 + 1, 1)) / F(pooled[0])
        step_w = F(max(x2 - x1 + 1, 1)) / F(pooled[1])
        for c, ph, pw in np.ndindex(channels, *pooled):
            h0, h1 = math.floor(F(ph) * step_h), math.ceil(F(ph + 1) * step_h)
            w0, w1 = math.floor(F(pw) * step_w), math.ceil(F(pw + 1) * step_w)
            h0, h1 = _clip(h0 + y1, height), _clip(h1 + y1, height)
            w0, w1 = _clip(w0 + x1, width), _clip(w1 + x1, width)
            at = (n, c, ph, pw)
            if h1 <= h0 or w1 <= w0:
                top[at] = 0
            for h in range(h0, h1):
                for w in range(w0, w1):
                    value = x[int(roi[0]), c, h, w]
                    if value > top[at]:
                        top[at], argmax[at] = value, h * width + w
    dx, dout = np.zeros_like(x), dout_of(top)
    for n, c, ph, pw in np.ndindex(*top.shape):
        x1, y1, x2, y2 = (c_round(F(v) * F(scale)) for v in rois[n][1:5])
        h, w = divmod(int(argmax[n, c, ph, pw]), width)
        if argmax[n, c, ph, pw] >= 0 and y1 <= h <= y2 and x1 <= w <= x2:
            dx[int(rois[n][0]), c, h, w] += dout[n, c, ph, pw]
    return top, dx


def psroi_pooling(x, rois, outputs, bins, scale, dout_of):
    """psroi_pooling_layer.cu of daijifeng001/caffe-rfcn."""
    _, _, height, width = x.shape
    top = np.zeros((len(rois), outputs, bins, bins), "float32")

    def area(n, ph, pw):
        x1, y1 = (F(c_round(v)) * F(scale) for v in rois[n][1:3])
        x2, y2 = (F(c_round(v) + 1) * F(scale) for v in rois[n][3:5])
        step_h = max(F(y2 - y1), F(0.1)) / F(bins)
        step_w = max(F(x2 - x1), F(0.1)) / F(bins)
        h0 = _clip(math.floor(F(ph) * step_h + y1), height)
        w0 = _clip(math.floor(F(pw) * step_w + x1), width)
        h1 = _clip(math.ceil(F(ph + 1) * step_h + y1), height)
        w1 = _clip(math.ceil(F(pw + 1) * step_w + x1), width)
        return slice(h0, h1), slice(w0, w1), max(h1 - h0, 0) * max(w1 - w0, 0)

    for n, c, ph, pw in np.ndindex(*top.shape):
        rows, columns, size = area(n, ph, pw)
        if size:
            channel = (c * bins + ph) * bins + pw
            top[n, c, ph, pw] = x[int(rois[n][0]), channel, rows, columns].sum() / size
    dx, dout = np.zeros_like(x), dout_of(top)
    for n, c, ph, pw in np.ndindex(*top.shape):
        rows, columns, size = area(n, ph, pw)
        if size:
            channel = (c * bins + ph) * bins + pw
            dx[int(rois[n][0]), channel, rows, columns] += dout[n, c, ph, pw] / size
    return top, dx
