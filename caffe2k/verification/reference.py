"""Blobs that a user dumped from Caffe, and the lines of pycaffe that dump them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2k.diagnostics import Diagnostics
from caffe2k.project import carries_net
from caffe2k.prototxt.read import read
from caffe2k.shell.script import is_script
from caffe2k.sources.lookup import find_beside
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.mapping import ZIP_ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray


_NUMBERS = "biuf"
# A single array (.npy) has no names, and older ones can't be closed.
_UNREADABLE = (*ZIP_ERRORS, AttributeError, TypeError)


def read_reference(path: Path) -> dict[str, NDArray[Any]]:
    """The blobs of an .npz by name; raises WeightsError where it is none."""
    import numpy as np

    try:
        npz = np.load(path, allow_pickle=False)
        with npz:
            blobs = {name: np.asarray(npz[name]) for name in npz.files}
        if any(array.dtype.kind not in _NUMBERS for array in blobs.values()):
            raise ValueError("not all of them are numbers")
        return blobs
    except FileNotFoundError as e:
        raise WeightsError(
            "reference-missing",
            f"the blobs `{path}` are not there",
            help="dump them from Caffe with the lines that --recipe prints",
        ) from e
    except _UNREADABLE as e:
        raise WeightsError(
            "reference-unreadable",
            f"`{path}` is no .npz of arrays",
            help="dump the blobs from Caffe with the lines that --recipe prints",
        ) from e


def recipe(net: Path, weights: Path) -> str:
    """A Python script that runs Caffe on random inputs and saves all blobs.

    `net` need not be here; if it is here and a solver, its net is run. Raises
    WeightsError where it is neither.
    """
    net = _net_file(net)
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


def _net_file(path: Path) -> Path:
    """The net's own file, which is what Caffe's Python takes."""
    if not path.is_file():
        return path
    named: str | None = None
    if not (is_script(path) or carries_net(path)):
        message = read(path, Diagnostics())
        if message.schema.name == "NetParameter":
            return path
        named = message.net or message.train_net
    found = find_beside(named, path.parent) if named else None
    if found is None:
        raise WeightsError(
            "recipe-without-net",
            f"`{path}` is not the prototxt of a net, and names none that is here",
            help="Caffe's Python takes the net itself; a caffemodel's is printed by "
            "`caffe2k inspect --prototxt`",
        )
    return found
