"""Porting weights alone: from what Caffe or Keras wrote to what either of them reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2k.codegen.names import Names, keras_name
from caffe2k.codegen.saved_groups import saved_groups
from caffe2k.diagnostics import Diagnostic, Diagnostics, TranslationError
from caffe2k.ir.net import Phase
from caffe2k.ops import find_op
from caffe2k.ops.plugins import blamed
from caffe2k.passes.select import select_layers, state_of
from caffe2k.pipeline import Options, TranslatedNet, translate_net
from caffe2k.project import Project, read_project
from caffe2k.schema.binary import serialize
from caffe2k.schema.message import Message
from caffe2k.weights.coverage import CoverageReport, LayerCoverage
from caffe2k.weights.plan import WeightPlan

if TYPE_CHECKING:
    from caffe2k.weights.blob import CaffeModel
    from caffe2k.weights.compare import Difference
    from caffe2k.weights.whole_file import OnProgress

FORMATS = ("weights.h5", "caffemodel.h5", "h5", "npz", "safetensors", "caffemodel")
"""What can be written, called after the suffixes of files; the longer ones first."""

_OF_KERAS = ("h5", "weights.h5")
_OF_CAFFE = ("caffemodel", "caffemodel.h5")
_WITH_NET = _OF_KERAS + _OF_CAFFE


@dataclass(frozen=True)
class Porting:
    """What became of the weights of every layer, and what to know of them."""

    coverage: CoverageReport
    warnings: tuple[Diagnostic, ...]


@blamed()
def diff_weights(
    a: Path,
    b: Path,
    *,
    net: Path | None = None,
    options: Options = Options(),  # noqa: B008 - frozen
    atol: float = 0.0,
    on_progress: OnProgress | None = None,
) -> tuple[Difference, ...]:
    """What differs between two files of weights, blob by blob.

    If one is of Caffe and one of Keras, `net` says which weight is which blob; it may be
    left out if Caffe's file carries the net. A BatchNorm's statistics are then compared
    with the scale factor taken out.

    Raises TranslationError.
    """
    from caffe2k.weights.caffemodel import read_caffemodel
    from caffe2k.weights.compare import differences
    from caffe2k.weights.contents import keras_model
    from caffe2k.weights.from_keras import unscaled
    from caffe2k.weights.keras_files import is_keras_file

    of_keras = [is_keras_file(path) for path in (a, b)]
    if len(set(of_keras)) == 1:
        read = keras_model if all(of_keras) else read_caffemodel
        return tuple(differences(read(a), read(b), atol, on_progress))
    keras, caffe = (a, b) if of_keras[0] else (b, a)
    job = _Job(net or caffe, options)
    model = job.read_caffemodel(caffe)
    back = job.beside_caffe(keras, job.plan_for(model))
    types = job.types
    model = replace(
        model,
        layers=tuple(
            unscaled(replace(layer, type=types.get(layer.name, layer.type)))
            for layer in model.layers
        ),
    )
    pair = (back, model) if of_keras[0] else (model, back)
    return tuple(differences(*pair, atol, on_progress))


@blamed()
def port_weights(
    net: Path,
    weights: Path | None,
    output: Path,
    *,
    to: str | None = None,
    options: Options = Options(),  # noqa: B008 - frozen
    allow_partial: bool = False,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Porting:
    """Writes the weights of a caffemodel, or of the net's Keras model, in another format.

    Without `weights`, `net` is a caffemodel that carries its net. `to` is one of
    `FORMATS`; without it the suffix of `output` decides. A net that can't be translated
    is no obstacle to porting a caffemodel: its layers are ported one by one.

    Raises TranslationError; then nothing was written.
    """
    to = to or _format_of(output)
    how = {"force": force, "on_progress": on_progress}
    if weights is None and to not in _WITH_NET:
        return _write_without_net(to, net, output, **how)
    job = _Job(net, options)
    source = net if weights is None else weights
    model, plan, coverage = job.matched(source, to, allow_partial=allow_partial)
    _write(to, job, model, plan, output, **how)
    return Porting(coverage, job.warnings.warnings)


def _format_of(output: Path) -> str:
    """What a file's suffix asks for; a name without one is Keras's to refuse."""
    return next((to for to in FORMATS if output.name.endswith(f".{to}")), "h5")


class _Job:
    """A net, and as much of its translation as there is."""

    def __init__(self, path: Path, options: Options) -> None:
        self.problems = Diagnostics()
        self.warnings = Diagnostics()
        self._options = options
        self.project: Project = read_project(path, None, self.problems)
        self.net: TranslatedNet = translate_net(
            self.project.net,
            self.project.root,
            options,
            self.problems,
            self.project.states,
        )

    @property
    def layers(self) -> dict[str, Message]:
        """The layers of the phase that Caffe's snapshots are of, by name."""
        phase = Phase.TRAIN if Phase.TRAIN in self.net.phases else Phase.TEST
        message = self.project.net
        state = state_of(message, phase, self.project.states.get(phase))
        return {m.name: m for _, m in select_layers(message, state, Diagnostics())}

    @property
    def types(self) -> dict[str, str]:
        """The types of those layers."""
        return {name: layer.type for name, layer in self.layers.items()}

    def matched(
        self, source: Path, to: str, *, allow_partial: bool
    ) -> tuple[CaffeModel, WeightPlan, CoverageReport]:
        """The blobs of a file, where they belong, and which of them found a place."""
        from caffe2k.weights.keras_files import is_keras_file
        from caffe2k.weights.port import match

        of_keras = is_keras_file(source)
        if of_keras or to == "weights.h5":
            # Both have the places of the translated model's layers.
            self.problems.raise_if_errors()
        if of_keras:
            plan = self.net.plan
            model, coverage = self.back_to_caffe(source, plan)
        else:
            model = self.read_caffemodel(source)
            plan = self.plan_for(model, in_keras=to in _OF_KERAS)
            coverage = self._with_lacking(match(model, plan)[1], plan, model)
        if to in _WITH_NET:
            self._require(coverage, allow_partial=allow_partial)
        return model, plan, coverage

    def read_caffemodel(self, path: Path) -> CaffeModel:
        """A caffemodel, with the shared blobs that it leaves out."""
        from caffe2k.weights.caffe_side import with_shared
        from caffe2k.weights.caffemodel import read_caffemodel

        return with_shared(read_caffemodel(path), self.layers.values())

    def back_to_caffe(
        self, keras: Path, plan: WeightPlan
    ) -> tuple[CaffeModel, CoverageReport]:
        """The blobs that a Keras model's weights are."""
        from caffe2k.weights.from_keras import from_keras
        from caffe2k.weights.keras_files import read_keras_file

        name = self.project.net.name
        return from_keras(name, plan, read_keras_file(keras), self.types)

    def beside_caffe(self, keras: Path, plan: WeightPlan) -> CaffeModel:
        """The same, with layers that don't fit, or are the file's alone, as they are."""
        from caffe2k.weights.blob import LayerBlobs
        from caffe2k.weights.keras_files import read_keras_file

        model, coverage = self.back_to_caffe(keras, plan)
        given = read_keras_file(keras)
        others = [(m.caffe_layer, m.keras_name) for m in coverage.mismatched]
        others += [(layer.caffe_layer, layer.caffe_layer) for layer in coverage.unused]
        layers = (LayerBlobs(name, "", given[key]) for name, key in others)
        return replace(model, layers=(*model.layers, *layers))

    def plan_for(self, model: CaffeModel, *, in_keras: bool = True) -> WeightPlan:
        """Where a caffemodel's blobs belong, also in a net that can't be translated.

        What is doubtful about their axes `in_keras` becomes warnings.
        """
        exact = self.net.plan
        if not self.problems.has_errors:
            return exact
        from caffe2k.weights.loose_plan import loose_plan

        self._warn_of_problems()
        names = Names({layer.keras_name for layer in exact.layers})
        return loose_plan(
            exact,
            self.project.net,
            model,
            lambda name: names.claim(keras_name(name)),
            lambda kind: find_op(kind) is not None,
            self.warnings if in_keras else Diagnostics(),
            channels_last=self._options.data_format == "channels_last",
        )

    def _with_lacking(
        self, coverage: CoverageReport, plan: WeightPlan, model: CaffeModel
    ) -> CoverageReport:
        """Tells also what the file lacks of a net that can't be translated."""
        if not self.problems.has_errors:
            return coverage
        from caffe2k.weights.loose_plan import lacking

        missing = lacking(self.project.net, plan, model)
        return replace(coverage, missing=(*coverage.missing, *missing))

    def _require(self, coverage: CoverageReport, *, allow_partial: bool) -> None:
        """Raises TranslationError where layers found no match, with what may be why."""
        try:
            coverage.require(allow_partial=allow_partial)
        except TranslationError as error:
            if not self.problems.has_errors:
                raise
            found = (*self.problems, *error.diagnostics)
            raise TranslationError(found) from None

    def _warn_of_problems(self) -> None:
        errors = [d for d in self.problems if d.severity.value == "error"]
        others = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        self.warnings.warning(
            "weights-alone",
            f"the net can't be translated: {errors[0].message}{others}; its weights are "
            "ported layer by layer",
            errors[0].span,
            help="`caffe2k translate` tells all that is in the way",
        )


def _write(
    to: str,
    job: _Job,
    model: CaffeModel,
    plan: WeightPlan,
    output: Path,
    **how: Any,
) -> None:
    from caffe2k.weights import caffe_files, caffe_side, h5
    from caffe2k.weights.port import match

    if to == "h5":
        h5.write_legacy_h5(output, match(model, plan)[0], **how)
        return
    if to == "weights.h5":
        groups = saved_groups(job.net.whole.program)
        h5.write_keras_weights(output, match(model, plan)[0], groups, **how)
        return
    model = caffe_side.in_the_nets_shapes(model, plan)
    if to not in _OF_CAFFE:
        _write_arrays(to, model, output, **how)
        return
    model = caffe_side.for_the_net(model, plan, job.types)
    model = replace(model, name=job.project.net.name)
    if to == "caffemodel":
        definitions = {name: serialize(m) for name, m in job.layers.items()}
        caffe_files.write_caffemodel(output, model, definitions, **how)
    else:
        shared = caffe_side.shared_blobs(plan)
        caffe_files.write_caffemodel_h5(output, model, shared, **how)


def _write_arrays(to: str, model: CaffeModel, output: Path, **how: Any) -> None:
    from caffe2k.weights import raw_arrays
    from caffe2k.weights.caffe_side import arrays_of

    write = {"npz": raw_arrays.write_npz, "safetensors": raw_arrays.write_safetensors}
    write[to](output, arrays_of(model.layers), **how)


def _write_without_net(to: str, source: Path, output: Path, **how: Any) -> Porting:
    """Writes all that a file holds."""
    from caffe2k.weights.caffe_side import in_todays_shapes
    from caffe2k.weights.caffemodel import read_caffemodel

    model = in_todays_shapes(read_caffemodel(source))
    _write_arrays(to, model, output, **how)
    found = tuple(
        LayerCoverage(layer.name, "", tuple(b.shape for b in layer.blobs if b))
        for layer in model.layers
        if layer.blobs
    )
    return Porting(CoverageReport(found, (), (), ()), ())
