"""Caffe's DummyData layer: arrays of a given shape from fillers."""

import math

import numpy as np

from .reading import Reader


class DummyReader(Reader):
    """Endless batches of arrays that fillers make.

    shapes: one shape a top, or one for all. fillers: one a top, one for all, or none
    for zeros; each a dict with what FillerParameter sets, such as
    {"type": "gaussian", "std": 0.1}.

    Batches are dicts: top -> float32 array, filled anew for each batch. Raises ValueError for a filler that Caffe does not know, and
    where the numbers of shapes, fillers and tops do not fit.
    Caffe: dummy_data_layer.cpp and filler.hpp.
    """

    def __init__(self, tops, shapes, fillers=()):
        self.tops = tuple(tops)
        self.shapes = _one_a_top("shape", shapes, self.tops)
        self.fillers = _one_a_top("data_filler", fillers or ({},), self.tops)
        for filler in self.fillers:
            if filler.get("type", "constant") not in _FILLERS:
                raise ValueError(f"unknown filler {filler['type']!r}")

    def batch(self, number, reading):
        rng = reading.draws(number)
        return {
            top: fill(shape, filler, rng)
            for top, shape, filler in zip(
                self.tops, self.shapes, self.fillers, strict=True
            )
        }


def fill(shape, filler, rng):
    """A float32 array of `shape` from a filler: a dict, see `DummyReader`.

    Raises ValueError for shapes that the filler is not made for.
    """
    options = {**_DEFAULTS, **filler}
    values = _FILLERS[options["type"]](tuple(shape), options, rng)
    return np.asarray(values, np.float32)


_DEFAULTS = {
    "type": "constant",
    "value": 0.0,
    "min": 0.0,
    "max": 1.0,
    "mean": 0.0,
    "std": 1.0,
    "sparse": -1,
    "variance_norm": "FAN_IN",
}


def _constant(shape, options, rng):
    return np.full(shape, options["value"], np.float32)


def _uniform(shape, options, rng):
    return rng.uniform(options["min"], options["max"], shape)


def _gaussian(shape, options, rng):
    values = rng.normal(options["mean"], options["std"], shape)
    if options["sparse"] < 0:
        return values
    # `sparse` is the mean number of inputs of an output that are not zero.
    return values * (rng.random(shape) < options["sparse"] / shape[0])


def _positive_unitball(shape, options, rng):
    rows = rng.random((shape[0], math.prod(shape[1:])))
    return (rows / rows.sum(axis=1, keepdims=True)).reshape(shape)


def _xavier(shape, options, rng):
    limit = math.sqrt(3 / _fan(shape, options))
    return rng.uniform(-limit, limit, shape)


def _msra(shape, options, rng):
    return rng.normal(0, math.sqrt(2 / _fan(shape, options)), shape)


def _bilinear(shape, options, rng):
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"a bilinear filler needs four axes and a square, not {shape}")
    size = shape[3]
    factor = math.ceil(size / 2)
    centre = (size - 1) / (2 * factor)
    ramp = 1 - np.abs(np.arange(size) / factor - centre)
    return np.broadcast_to(np.outer(ramp, ramp), shape)


def _fan(shape, options):
    count = math.prod(shape)
    fan_in = count // shape[0]
    fan_out = count // shape[1] if len(shape) > 1 else count
    return {
        "FAN_IN": fan_in,
        "FAN_OUT": fan_out,
        "AVERAGE": (fan_in + fan_out) / 2,
    }[options["variance_norm"]]


_FILLERS = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}


def _one_a_top(what, given, tops):
    if len(given) not in (1, len(tops)):
        raise ValueError(
            f"{len(given)} {what} for {len(tops)} tops: give one, or one each"
        )
    return list(given) * len(tops) if len(given) == 1 else list(given)
