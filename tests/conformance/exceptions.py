"""Cases that Caffe's numbers can't be had for in some way of running, and why."""

from __future__ import annotations

CHANNELS_FIRST = {
    "ssd_head": "TensorFlow's CPU kernels know no convolution with channels first, and "
    "XLA can't compile what gives a number of rows that depends on the values",
}
"""Of the emitted channels_first models on TensorFlow without a GPU."""

BACKENDS: dict[str, dict[str, str]] = {
    "jax": {},
    "torch": {},
}
"""Of forward passes, by Keras backend."""
