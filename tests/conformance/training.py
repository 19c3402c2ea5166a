"""A solver case trained by its emitted train.py, watched iteration by iteration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

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


def trained(
    folder: Path,
    scratch: Path,
    patch: pytest.MonkeyPatch,
    resumed: Callable[[Path], Path] | None = None,
) -> Run:
    """Translates the case, starts from its init.caffemodel, and trains as it says.

    With `resumed` it goes on from the snapshot that this makes in a scratch folder.
    """
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
        place, start = None, 0
        if resumed is not None:
            snapshot = str(resumed(scratch))
            place = train.read_place(snapshot)
            train.restore(model, snapshot)
            start = place.iteration
        run.params[start] = _params(translation, model)
        _record_tests(train, run, patch)
        _record_iterations(train, translation, model, run, patch)
        args = train.parse_args([])
        train.train(model, args, 0, place, train.TrainingLog("caffe"))
    return run


def _params(translation: Translation, model: object) -> Params:
    plan = translation.net.plan
    arrays = {}
    for layer in plan.layers:
        keras_layer = model.get_layer(layer.keras_name)  # type: ignore[attr-defined]
        weights = [*keras_layer.trainable_weights, *keras_layer.non_trainable_weights]
        arrays[layer.keras_name] = [np.array(w) for w in weights]
    return to_caffe(plan, arrays)


def _record_tests(train: ModuleType, run: Run, patch: pytest.MonkeyPatch) -> None:
    class RecordedNet(train.TestNet):  # type: ignore[misc, name-defined]
        def evaluate(self, trained: object, log: object) -> dict[str, float]:
            values: dict[str, float] = super().evaluate(trained, log)
            iteration = int(trained.optimizer.iterations)  # type: ignore[attr-defined]
            run.tests[iteration] = {
                o.top: o.value(values) if o.key else values[o.top] for o in self.outputs
            }
            return values

    patch.setattr(train, "TestNet", RecordedNet)


def _record_iterations(
    train: ModuleType,
    translation: Translation,
    model: object,
    run: Run,
    patch: pytest.MonkeyPatch,
) -> None:
    class Recorder(train.Display):  # type: ignore[misc, name-defined]
        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self._last_loss = float(logs["loss"])
            super().on_train_batch_end(batch, logs)

        def on_iteration_end(self, iteration: int, logs: dict[str, float]) -> None:
            run.loss.append(self._last_loss)
            run.lr.append(self._rate)
            run.params[iteration] = _params(translation, model)
            super().on_iteration_end(iteration, logs)

    patch.setattr(train, "Display", Recorder)
