"""A solver case trained by its emitted train.py, watched iteration by iteration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from caffe2k.ops import find_op
from caffe2k.translation import Translation, translate
from caffe2k.weights.port import to_caffe
from tests.conformance.emitted import imported

Params = Mapping[tuple[str, int], np.ndarray]


@dataclass
class Run:
    """What a run did, by iteration: Caffe's words, Caffe's axis order."""

    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    params: dict[int, Params] = field(default_factory=dict)
    tests: dict[int, dict[str, float]] = field(default_factory=dict)


def trained(folder: Path, scratch: Path, patch: pytest.MonkeyPatch) -> Run:
    """Translates the case, starts from its init.caffemodel, and trains as it says."""
    translation = translate(
        folder / "solver.prototxt", weights=folder / "init.caffemodel"
    )
    translation.write(scratch / "out")
    patch.chdir(scratch)
    patch.setenv("CAFFE_DATA_ROOT", str(folder))
    run = Run()
    with imported(scratch / "out", "train") as train:
        weights = str(scratch / "out" / str(translation.weights_file))
        train.keras.utils.set_random_seed(0)
        model = train.compiled_model([weights])
        run.params[0] = _params(translation, model)
        _record_tests(train, translation, run, patch)
        _record_iterations(train, translation, model, run)
        train.train(model)
    return run


def _params(translation: Translation, model: object) -> Params:
    plan = translation.net.plan
    arrays = {}
    for layer in plan.layers:
        keras_layer = model.get_layer(layer.keras_name)  # type: ignore[attr-defined]
        weights = [*keras_layer.trainable_weights, *keras_layer.non_trainable_weights]
        arrays[layer.keras_name] = [np.array(w) for w in weights]
    return to_caffe(plan, arrays)


def _record_tests(
    train: ModuleType, translation: Translation, run: Run, patch: pytest.MonkeyPatch
) -> None:
    class RecordedEvaluation(train.Evaluation):  # type: ignore[misc, name-defined]
        def _test(self) -> dict[str, float]:
            outputs: dict[str, float] = super()._test()
            run.tests[self.iteration] = _by_top(translation, outputs)
            return outputs

    patch.setattr(train, "Evaluation", RecordedEvaluation)


def _by_top(translation: Translation, outputs: dict[str, float]) -> dict[str, float]:
    """Keras's test outputs by the names of Caffe's tops."""
    program = translation.net.whole.program
    single = len(program.outputs) == 1
    found: dict[str, float] = {}
    for term in program.losses:
        if single:
            found[term.top] = outputs["loss"] / term.weight
        else:
            found[term.top] = outputs[f"{term.output}_loss"]
    endpoints = _endpoint_losses(translation)
    if len(endpoints) == 1 and not program.losses:
        found[endpoints[0]] = outputs["loss"]
    for metric in program.metrics:
        name = dict(metric.call.kwargs).get("name", "accuracy")
        found[metric.top] = outputs[name if single else f"{metric.output}_{name}"]
    return found


def _endpoint_losses(translation: Translation) -> list[str]:
    """The tops of losses inside the model, whose sum Keras calls `loss`."""
    outside = {term.top for term in translation.net.whole.program.losses}
    return [
        layer.tops[0].name
        for layer in translation.net.net.layers
        if (op := find_op(layer.type)) is not None and op.is_loss
        if layer.tops[0].name not in outside
    ]


def _record_iterations(
    train: ModuleType, translation: Translation, model: object, run: Run
) -> None:
    class Recorder(train.Display):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(every=1)

        def on_iteration_begin(self, iteration: int) -> None:
            super().on_iteration_begin(iteration)
            self._sums = [0.0]

        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self._sums.append(float(logs["loss"]) * len(self._sums))
            super().on_train_batch_end(batch, logs)

        def on_iteration_end(self, iteration: int, logs: dict[str, float]) -> None:
            super().on_iteration_end(iteration, logs)
            # Keras logs the mean over the iteration so far, Caffe's suite the last batch.
            run.loss.append(self._sums[-1] - self._sums[-2])
            run.lr.append(self._rate)
            run.params[iteration] = _params(translation, model)

    fit = model.fit  # type: ignore[attr-defined]

    def watched_fit(*args: object, callbacks: list[object], **kwargs: object) -> object:
        # Before those of train.py, which end the training.
        others = [c for c in callbacks if not isinstance(c, train.Display)]
        return fit(*args, callbacks=[Recorder(), *others], **kwargs)

    model.fit = watched_fit  # type: ignore[attr-defined]
