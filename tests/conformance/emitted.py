"""A translated case: its emitted files imported, its ported weights loaded, and run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from caffe2k.ir.net import Blob, Phase
from caffe2k.passes.blob_places import blob_places
from caffe2k.pipeline import Options
from caffe2k.translation import Translation, translate
from caffe2k.weights.port import to_caffe

STUBS = ("custom_data", "custom_layers")
"""What a user fills in, where there is something to."""

Arrays = Mapping[str, np.ndarray]
Tensors = Mapping[str, object]


def as_array(value: object) -> np.ndarray:
    """A tensor of Keras's backend in NumPy."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(value))


@contextmanager
def imported(folder: Path, name: str) -> Iterator[ModuleType]:
    """A module of an emitted project, as a script that lies beside it would import it.

    Its runtime classes, and no others, are registered with Keras for as long as the
    context lasts.
    """
    import keras

    registered = keras.saving.get_custom_objects()
    before = dict(registered)
    for key in [k for k in before if k.startswith("caffe_runtime>")]:
        del registered[key]
    emitted = {"model", "train", "data", "caffe_runtime", *STUBS}
    kept = {k: m for k, m in sys.modules.items() if k.partition(".")[0] in emitted}
    for key in kept:
        del sys.modules[key]
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for key in [k for k in sys.modules if k.partition(".")[0] in emitted]:
            del sys.modules[key]
        sys.modules.update(kept)
        registered.clear()
        registered.update(before)


def translated(
    net: Path, weights: Path | None, phase: str, folder: Path, **options: object
) -> Translation:
    """The case as a user would translate it, written to `folder`."""
    translation = translate(
        net,
        weights=weights,
        options=Options(phase=Phase[phase], **options),  # type: ignore[arg-type]
    )
    translation.write(folder)
    return translation


class EmittedNet:
    """A model of emitted code, fed and read in Caffe's axis order."""

    def __init__(self, translation: Translation, folder: Path, phase: str) -> None:
        self.net = translation.net
        self.program = self.net.whole.program
        self.training = phase == "TRAIN"
        with imported(folder, "model") as module:
            self.model = module.build_model()
            self.losses = self._by_output(getattr(module, "losses", lambda: None)())
            metrics = getattr(module, "metrics", list)()
            self.weights = getattr(module, "LOSS_WEIGHTS", None)
        self.metrics = self._metric_list(metrics)
        if translation.weights_file is not None:
            self.model.load_weights(folder / translation.weights_file, by_name=True)

    def _by_output(self, losses: object) -> dict[str, object]:
        if losses is None:
            return {}
        if isinstance(losses, dict):
            return losses
        return {self.program.outputs[0].key: losses}

    def _metric_list(self, metrics: object) -> list[object]:
        """The metric objects in the order of the program's terms."""
        if isinstance(metrics, dict):
            queues = {key: list(found) for key, found in metrics.items()}
        else:
            queues = {self.program.outputs[0].key: list(metrics)}  # type: ignore[call-overload]
        return [queues[term.output].pop(0) for term in self.program.metrics]

    def to_keras(self, array: np.ndarray) -> np.ndarray:
        """How a blob enters the model."""
        layout = self.net.whole.form.boundary(array.ndim)
        return np.ascontiguousarray(array.transpose(layout.perm))

    def to_caffe(self, array: np.ndarray) -> np.ndarray:
        """How a blob that left the model lies in Caffe."""
        layout = self.net.whole.form.boundary(array.ndim)
        return array.transpose(np.argsort(layout.perm))

    @property
    def supports_jit(self) -> bool:
        """Whether fit() would compile the model with XLA."""
        return all(layer.supports_jit for layer in self.model.layers)

    def loss_weight(self, output: str) -> float:
        if self.weights is None:
            return 1.0
        if isinstance(self.weights, dict):
            return float(self.weights.get(output, 1.0))
        return float(self.weights[0])

    def model_inputs(self, tensors: Mapping[str, object]) -> object:
        """What model() takes: one tensor, or a dict by input name."""
        inputs = {i.name: tensors[i.blob] for i in self.program.inputs}
        return next(iter(inputs.values())) if len(inputs) == 1 else inputs

    def outputs(self, result: object) -> dict[str, object]:
        """The model's result by blob name."""
        if isinstance(result, dict):
            return result
        return {self.program.outputs[0].key: result}

    def call(self, tensors: Mapping[str, object]) -> tuple[Tensors, Tensors]:
        """The model's outputs by blob, and the losses of compile() by their tops."""
        result = self.model(self.model_inputs(tensors), training=self.training)
        outputs = self.outputs(result)
        losses = {
            term.top: self.losses[term.output](  # type: ignore[operator]
                tensors[term.target_blob], outputs[term.output]
            )
            for term in self.program.losses
        }
        return outputs, losses

    def objective(self, outputs: Tensors, losses: Tensors, douts: Arrays) -> object:
        """What Caffe differentiates: the losses, and `douts` times the outputs."""
        from keras import ops

        terms = [*self.model.losses]
        for term in self.program.losses:
            terms.append(self.loss_weight(term.output) * losses[term.top])  # type: ignore[operator]
        for name, dout in douts.items():
            if name in outputs:
                seed = dout.reshape(self._caffe_shape(outputs[name]))
                seed = ops.convert_to_tensor(self.to_keras(seed))
                terms.append(ops.sum(seed * outputs[name]))
        return sum(terms, ops.convert_to_tensor(0.0))

    def _caffe_shape(self, output: object) -> tuple[int, ...]:
        shape = tuple(output.shape)  # type: ignore[attr-defined]
        return self.to_caffe(np.empty(shape, np.int8)).shape

    def tops(
        self, tensors: Mapping[str, object], outputs: Tensors, losses: Tensors
    ) -> dict[str, np.ndarray]:
        """Every top as Caffe has it, from what `call` gave."""
        found = {top: as_array(value) for top, value in losses.items()}
        for metric, term in zip(self.metrics, self.program.metrics, strict=True):
            metric.update_state(tensors[term.target_blob], outputs[term.output])  # type: ignore[attr-defined]
            found[term.top] = as_array(metric.result())  # type: ignore[attr-defined]
        for name, value in outputs.items():
            array = self.to_caffe(as_array(value))
            is_loss = self.is_loss_top(name)
            found.setdefault(name, array.mean() if is_loss else array)
        return found

    def tensors(self, inputs: Arrays) -> dict[str, object]:
        """Caffe's blobs as tensors of Keras's backend."""
        from keras import ops

        return {k: ops.convert_to_tensor(self.to_keras(v)) for k, v in inputs.items()}

    def blob(self, name: str, inputs: Arrays) -> np.ndarray:
        """Any blob of the net by its Caffe name, in Caffe's axis order."""
        import keras

        place = blob_places(self.net.whole)[name]
        node = self.model.get_layer(place.layer)._inbound_nodes[place.use]
        symbolic = node.output_tensors[place.output]
        entries = self.model.inputs
        inner = keras.Model(entries[0] if len(entries) == 1 else entries, symbolic)
        value = inner(
            self.model_inputs({k: self.to_keras(v) for k, v in inputs.items()}),
            training=self.training,
        )
        array = as_array(value)
        return array.transpose(np.argsort(place.layout.perm))

    def params(
        self, arrays: Mapping[str, list[np.ndarray]]
    ) -> dict[tuple[str, int], np.ndarray]:
        """Arrays by Keras layer, as Caffe's blobs by (layer, index)."""
        return to_caffe(self.net.plan, arrays)

    def is_loss_top(self, name: str) -> bool:
        """Whether a blob is a loss, which an endpoint repeats for every sample."""
        return self.net.net.shapes.get(Blob(name)) == ()
