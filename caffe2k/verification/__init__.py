"""Proves a translation to its user: the emitted model beside a Caffe runtime."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2k.ir.net import Phase
from caffe2k.pipeline import Options
from caffe2k.porting import port_weights
from caffe2k.translation import Translation, translate
from caffe2k.verification.comparison import BlobError, Verdict, compare
from caffe2k.verification.keras_blobs import keras_blobs
from caffe2k.verification.opencv_blobs import opencv_blobs
from caffe2k.verification.random_inputs import input_shapes, random_inputs
from caffe2k.verification.reference import read_reference, recipe
from caffe2k.weights.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BlobError", "Verdict", "recipe", "verify"]


def verify(
    net: Path,
    caffemodel: Path,
    *,
    reference: Path | None = None,
    options: Options = Options(),  # noqa: B008 - frozen
    tolerance: float = 1e-4,
) -> Verdict:
    """Runs the TEST net in Keras, and compares its blobs with a Caffe runtime's.

    The runtime is OpenCV's, on random inputs; or Caffe itself, whose blobs lie in
    `reference`, an .npz by blob name that holds the inputs too. Raises TranslationError
    where the net can't be translated or one of both can't be run.
    """
    options = replace(options, phase=Phase.TEST)
    translation = translate(net, weights=caffemodel, options=options)
    if reference is None:
        inputs = random_inputs(translation)
        theirs = _by_opencv(net, caffemodel, translation, inputs, options)
        source = "OpenCV"
    else:
        theirs = read_reference(reference)
        inputs = _taken_inputs(translation, theirs, reference)
        source = reference.name
    with tempfile.TemporaryDirectory(prefix="caffe2k-") as folder:
        ours = keras_blobs(translation, inputs, Path(folder) / "model")
    theirs = {name: a for name, a in theirs.items() if name not in inputs}
    return compare(ours, theirs, source, tolerance)


def _by_opencv(
    net: Path,
    caffemodel: Path,
    translation: Translation,
    inputs: dict[str, NDArray[Any]],
    options: Options,
) -> dict[str, NDArray[Any]]:
    """What OpenCV computes; of a file that it can't read it gets the weights anew.

    It knows neither HDF5 files nor V0 layers.
    """
    layers = translation.net.phases[Phase.TEST]
    try:
        return opencv_blobs(layers, caffemodel, inputs)
    except WeightsError as refusal:
        if refusal.diagnostics[0].code != "opencv-refused":
            raise
    with tempfile.TemporaryDirectory(prefix="caffe2k-") as folder:
        todays = Path(folder) / "todays.caffemodel"
        port_weights(net, caffemodel, todays, options=options, allow_partial=True)
        return opencv_blobs(layers, todays, inputs)


def _taken_inputs(
    translation: Translation, blobs: dict[str, NDArray[Any]], path: Path
) -> dict[str, NDArray[Any]]:
    """The inputs that Caffe ran with."""
    inputs = {}
    for name, shape in input_shapes(translation).items():
        if name not in blobs:
            raise WeightsError(
                "reference-without-input",
                f"`{path}` does not hold `{name}`, an input of the net",
                help="save the input blobs too, as the lines of --recipe do",
            )
        if blobs[name].shape[1:] != shape[1:]:
            raise WeightsError(
                "reference-shape",
                f"`{name}` in `{path}` is {_by(blobs[name].shape)}, in the net {_by(shape)}",
                help="give the prototxt that Caffe ran with, or its --input-shape",
            )
        inputs[name] = blobs[name].astype("float32")
    return inputs


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
