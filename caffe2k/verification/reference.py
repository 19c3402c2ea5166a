"""Blobs that a user dumped from Caffe, and the lines of pycaffe that dump them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2k.weights.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_reference(path: Path) -> dict[str, NDArray[Any]]:
    """The blobs of an .npz by name; raises WeightsError where it is none."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as npz:
            return {name: npz[name] for name in npz.files}
    except FileNotFoundError as e:
        raise WeightsError(
            "reference-missing",
            f"the blobs `{path}` are not there",
            help="dump them from Caffe with the lines that --recipe prints",
        ) from e
    # A single array (.npy) has no names: an AttributeError.
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as e:
        raise WeightsError(
            "reference-unreadable",
            f"`{path}` is no .npz of arrays",
            help="dump the blobs from Caffe with the lines that --recipe prints",
        ) from e


def recipe(net: Path, weights: Path) -> str:
    """A Python script that runs Caffe on random inputs and saves all blobs."""
    return f"""\
import caffe
import numpy as np

caffe.set_mode_cpu()
net = caffe.Net({str(net)!r}, {str(weights)!r}, caffe.TEST)
random = np.random.RandomState(1)
for name in net.inputs:
    data = net.blobs[name].data
    data[...] = random.uniform(-128, 128, data.shape)
net.forward()
blobs = {{name: blob.data for name, blob in net.blobs.items()}}
np.savez('blobs.npz', **blobs)
"""
