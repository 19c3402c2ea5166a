"""NumPy readings of layers that resample (N, C, H, W): (top, gradients)."""

import math

import numpy as np


def unpooling(x, mask, size, dout_of):
    """upsample_layer.cpp of alexgkendall/caffe-segnet."""
    top = np.zeros((*x.shape[:2], *size), "float32")
    flat = top.reshape(*x.shape[:2], -1)
    for n, c, h, w in np.ndindex(*x.shape):
        flat[n, c, int(mask[n, c, h, w])] = x[n, c, h, w]
    dout = dout_of(top).reshape(flat.shape)
    dx = np.zeros_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        dx[n, c, h, w] = dout[n, c, int(mask[n, c, h, w])]
    return top, (dx,)


def repetition(x, scale, dout_of):
    """upsample_layer.cpp of eric612/MobileNet-YOLO."""
    top = np.zeros((*x.shape[:2], x.shape[2] * scale, x.shape[3] * scale), "float32")
    for place in np.ndindex(*top.shape):
        n, c, h, w = place
        top[place] = x[n, c, h // scale, w // scale]
    dx, dout = np.zeros_like(x), dout_of(top)
    for place in np.ndindex(*top.shape):
        n, c, h, w = place
        dx[n, c, h // scale, w // scale] += dout[place]
    return top, (dx,)


def interpolation(x, size, front, behind, dout_of):
    """interp_layer.cpp and util/interp.cpp (caffe_cpu_interp2) of hszhao/PSPNet."""
    height, width = (extent - front - behind for extent in x.shape[2:])
    taps = []
    for extent, out in ((height, size[0]), (width, size[1])):
        ratio = (
            np.float32(extent - 1) / np.float32(out - 1) if out > 1 else np.float32(0)
        )
        line = []
        for i in range(out):
            place = np.float32(ratio * np.float32(i))
            low = int(place)
            share = place - np.float32(low)
            line.append((low, low + (low < extent - 1), share))
        taps.append(line)

    def corners(i, j):
        (h0, h1, up), (w0, w1, right) = taps[0][i], taps[1][j]
        for h, by_row in ((h0, 1 - up), (h1, up)):
            for w, by_column in ((w0, 1 - right), (w1, right)):
                yield front + h, front + w, by_row * by_column

    top = np.zeros((*x.shape[:2], *size))
    for i, j in np.ndindex(*size):
        for h, w, weight in corners(i, j):
            top[:, :, i, j] += weight * x[:, :, h, w]
    dx, dout = np.zeros(x.shape), dout_of(top)
    for i, j in np.ndindex(*size):
        for h, w, weight in corners(i, j):
            dx[:, :, h, w] += weight * dout[:, :, i, j]
    return top, (dx,)


def spatial_transformer(x, theta, size, fixed, dout_of):
    """st_layer.cu of daerduoCarey/SpatialTransformerLayer."""
    images, channels, height, width = x.shape
    matrices = np.zeros((images, 6))
    learned = [i for i, entry in enumerate(fixed) if entry is None]
    for i, entry in enumerate(fixed):
        matrices[:, i] = theta[:, learned.index(i)] if entry is None else entry
    top = np.zeros((images, channels, *size))

    def neighbours(i, s, t):
        grid = (2 * s / size[0] - 1, 2 * t / size[1] - 1, 1.0)
        row = (matrices[i, :3] @ grid + 1) / 2 * height
        column = (matrices[i, 3:] @ grid + 1) / 2 * width
        for dm in (0, 1):
            for dn in (0, 1):
                m, n = math.floor(row) + dm, math.floor(column) + dn
                if 0 <= m < height and 0 <= n < width:
                    by_row, by_column = 1 - abs(row - m), 1 - abs(column - n)
                    slopes = ((1, -1)[dm == 0] * by_column, (1, -1)[dn == 0] * by_row)
                    yield m, n, by_row * by_column, slopes, grid

    for i, s, t in np.ndindex(images, *size):
        for m, n, weight, _, _ in neighbours(i, s, t):
            top[i, :, s, t] += weight * x[i, :, m, n]
    dx, dtheta, dout = np.zeros(x.shape), np.zeros((images, 6)), dout_of(top)
    for i, s, t in np.ndindex(images, *size):
        for m, n, weight, slopes, grid in neighbours(i, s, t):
            dx[i, :, m, n] += weight * dout[i, :, s, t]
            sum_over_channels = (x[i, :, m, n] * dout[i, :, s, t]).sum()
            for row, extent in ((0, height), (1, width)):
                slope = slopes[row] * sum_over_channels * extent / 2
                dtheta[i, 3 * row : 3 * row + 3] += slope * np.array(grid)
    return top, (dx, dtheta[:, learned])
