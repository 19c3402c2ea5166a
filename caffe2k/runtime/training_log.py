"""What training prints: Caffe's lines, bare, behind a progress bar or in glog's form."""

import os
import sys
import time
from typing import NamedTuple

import numpy as np


class Output(NamedTuple):
    """An output blob of Caffe's net: its name, what Keras's logs call it, its loss_weight.

    Where the logs only have the weighted value, `weighted` is true. A blob without a
    `key` in them is the model's output `top`: where it is `repeated` for each sample
    it counts once; with `channels_last` the blob's second axis stands last.
    """

    top: str
    key: str = ""
    loss_weight: float = 0.0
    weighted: bool = False
    repeated: bool = False
    channels_last: bool = False

    def value(self, values):
        """The blob without its weight; `values` has it by `key`, or else by this Output."""
        value = values[self.key or self]
        return value / self.loss_weight if self.weighted else value


def model_outputs(outputs, predicted):
    """Of the `outputs` those without a key: their blobs, in Caffe's axis order.

    `predicted` is what the model gave, a dict or its only output.
    """
    found = {}
    for output in outputs:
        if output.key:
            continue
        value = predicted[output.top] if isinstance(predicted, dict) else predicted
        value = np.asarray(value, "float64")
        if output.repeated:
            value = np.atleast_1d(value)[0]
        found[output] = np.moveaxis(value, -1, 1) if output.channels_last else value
    return found


class TrainingLog:
    """Prints lines in Caffe's words.

    style: "lines" prints them as they are; "bar" shows the progress below them, where
    stdout is a terminal; "caffe" puts glog's prefix before them (severity, date, time,
    process, and the `place` in Caffe that prints the line), which log parsers look for.
    """

    def __init__(self, style="lines"):
        if style not in ("lines", "bar", "caffe"):
            raise ValueError(f"unknown style {style!r}: it is lines, bar or caffe")
        self.style = style
        self.shows_bar = style == "bar" and sys.stdout.isatty()
        self._bar_shown = False

    def line(self, text, place):
        """Prints a line that Caffe prints at `place`, such as solver.cpp:239."""
        self.clear_bar()
        if self.style == "caffe":
            now = time.time()
            clock = time.strftime("%m%d %H:%M:%S", time.localtime(now))
            microseconds = int(now % 1 * 1e6)
            text = f"I{clock}.{microseconds:06d} {os.getpid():5d} {place}] {text}"
        print(text, flush=True)

    def outputs(self, net, outputs, values, place):
        """Prints the values of a net's outputs, a line for each number of a blob."""
        number = 0
        for output in outputs:
            for value in _numbers(output.value(values)):
                weight = output.loss_weight
                loss = f" (* {weight:g} = {weight * value:.6g} loss)" if weight else ""
                text = f"{net} net output #{number}: {output.top} = {value:.6g}{loss}"
                self.line(f"    {text}", place)
                number += 1

    def bar(self, done, total, text):
        """Draws the bar anew, with `text` behind it."""
        filled = "=" * (30 * done // total)
        sys.stdout.write(f"\r\x1b[K{done}/{total} [{filled:<30}] {text}")
        sys.stdout.flush()
        self._bar_shown = True

    def clear_bar(self):
        """Removes the bar until it is drawn again."""
        if self._bar_shown:
            sys.stdout.write("\r\x1b[K")
            self._bar_shown = False


def _numbers(value):
    """The numbers of a float or of an array in C order."""
    return value.ravel().tolist() if hasattr(value, "ravel") else [value]
