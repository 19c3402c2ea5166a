"""CoverageReport: which layers of a net and of a file of weights found each other."""

from __future__ import annotations

from dataclasses import dataclass

from caffe2k.diagnostics import Diagnostics
from caffe2k.weights.transforms import Shape


@dataclass(frozen=True)
class LayerCoverage:
    """A Caffe layer with the shapes of its blobs; `keras_name` is empty if unused."""

    caffe_layer: str
    keras_name: str
    shapes: tuple[Shape, ...]

    def __str__(self) -> str:
        return f"`{self.caffe_layer}` {', '.join(map(str, self.shapes))}".rstrip()


@dataclass(frozen=True)
class Mismatch:
    """A layer that the net and the file both have, and `reason` why it doesn't fit."""

    caffe_layer: str
    keras_name: str
    reason: str


@dataclass(frozen=True)
class CoverageReport:
    """What became of every layer with weights.

    `missing` layers are the net's alone, `unused` ones the file's alone; a layer of both
    is `ported` or `mismatched`.
    """

    ported: tuple[LayerCoverage, ...]
    missing: tuple[LayerCoverage, ...]
    unused: tuple[LayerCoverage, ...]
    mismatched: tuple[Mismatch, ...]

    @property
    def complete(self) -> bool:
        """Whether every weight on either side found its counterpart."""
        return not (self.missing or self.unused or self.mismatched)

    def require(self, *, allow_partial: bool) -> None:
        """Raises TranslationError with an error for each layer that is not covered.

        With `allow_partial` layers of one side alone are let pass, as when Caffe
        fine-tunes; a mismatch never is (net.cpp, Net::CopyTrainedLayersFrom).
        """
        found = Diagnostics()
        for mismatch in self.mismatched:
            found.error(
                "weights-mismatched",
                f"the weights of layer `{mismatch.caffe_layer}` don't fit: "
                f"{mismatch.reason}",
                help="to learn this layer from scratch, rename it in the net",
            )
        if not allow_partial:
            for layer in self.missing:
                found.error(
                    "weights-missing",
                    f"the file has no weights for layer {layer}",
                    help="with --allow-partial it keeps its filler's values",
                )
            for layer in self.unused:
                found.error(
                    "weights-unused",
                    f"the net has no place for the file's layer {layer}",
                    help="with --allow-partial it is left out",
                )
        found.raise_if_errors()
