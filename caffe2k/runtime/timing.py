"""`caffe time`: how long a net takes, forward, backward and layer by layer."""

import itertools
import time

import keras
from keras import ops

from .blobs import inner_model


class _Called(keras.Model):
    """A model or layer that is called with fixed `arguments` when it predicts."""

    def __init__(self, inner, arguments):
        super().__init__(name=f"{inner.name}_forward")
        self.inner = inner
        self.arguments = arguments

    def call(self, inputs):
        return self.inner(inputs, **self.arguments)


def benchmark(model, batch, iterations, training=True):
    """Prints the average milliseconds of a batch, in the lines of `caffe time`.

    `batch` is (x, y) for a compiled model, or (x,) for a net without losses: then the mean
    of its outputs is the loss. `training` chooses Dropout and batch statistics as in TRAIN. The
    backward pass is an update less a forward pass: Keras computes the gradients of all
    layers at once, so that no single layer has one. (time() in tools/caffe.cpp)
    """
    print("*** Benchmark begins ***")
    print(f"Testing for {iterations} iterations.")
    x = batch[0]
    print("Average time per layer, with its input brought in and its output fetched:")
    for name, milliseconds in _layers(model, x, iterations, training):
        print(f"{name:>10}\tforward: {milliseconds:.6g} ms.", flush=True)
    forward = _average(
        _Called(model, {"training": training}).predict_on_batch, (x,), iterations
    )
    print(f"Average Forward pass: {forward:.6g} ms.")
    whole = _average(model.train_on_batch, _trainable_batch(model, batch), iterations)
    print(f"Average Backward pass: {max(0.0, whole - forward):.6g} ms.")
    print(f"Average Forward-Backward: {whole:.6g} ms.")
    print(f"Total Time: {whole * iterations:.6g} ms.")
    print("*** Benchmark ends ***")


def _average(function, arguments, iterations):
    """Milliseconds of a call; the first call, which compiles, is not counted."""
    function(*arguments)
    start = time.perf_counter()
    for _ in range(iterations):
        function(*arguments)
    return (time.perf_counter() - start) * 1000 / iterations


def _layers(model, x, iterations, training):
    """Each layer's name and milliseconds, in the model's order.

    A layer that is called several times is left out.
    """
    calls = list(_only_calls(model))
    inputs = inner_model(model, x, [call.arguments.args[0] for call in calls])
    for call, value in zip(calls, inputs.predict_on_batch(x), strict=True):
        settings = {"training": training, **_settings(call)}
        alone = _Called(call.operation, settings)
        yield (
            call.operation.name,
            _average(alone.predict_on_batch, (value,), iterations),
        )


def _only_calls(model):
    """The call of each layer that a model calls once."""
    graph = getattr(model, "_functional", model)  # of a Sequential
    calls = {}
    for call in itertools.chain(*graph._nodes_by_depth.values()):
        calls.setdefault(call.operation, []).append(call)
    for operation in graph.operations:
        call, *others = calls[operation]
        if not others and not call.is_input:
            yield call


def _settings(call):
    """What a layer is called with beside its inputs."""
    is_tensor = keras.backend.is_keras_tensor
    return {k: v for k, v in call.arguments.kwargs.items() if not is_tensor(v)}


def _trainable_batch(model, batch):
    """The batch with targets; a model without losses is compiled with one."""
    if len(batch) > 1:
        return batch
    predicted = model.predict_on_batch(batch[0])
    means = keras.tree.map_structure(lambda _: _mean_output, predicted)
    model.compile(keras.optimizers.SGD(0.0), loss=means)
    return batch[0], predicted


def _mean_output(target, predicted):
    return ops.mean(predicted)
