"""What Caffe's solver does between updates: display, test, stop.

All count Caffe's iterations: one is one update of the weights, which with `iter_size`
takes several batches. Their order in a list of callbacks is the order of an iteration:
Solve, Display, Snapshot, LastForward, Evaluation.
"""

import collections
import contextlib
import signal
import threading
import time

import keras
import numpy as np
from keras import ops

from .finetune import share_weights
from .forward import batch_loss, forward
from .training_log import Output, TrainingLog, model_outputs


class IterationCallback(keras.callbacks.Callback):
    """Calls `on_iteration_begin` and `on_iteration_end` with the number of updates."""

    def on_train_begin(self, logs=None):
        if self.model.steps_per_execution != 1:
            raise ValueError("iterations can only be counted if steps_per_execution=1")
        optimizer = self.model.optimizer
        self._batches_per_iteration = optimizer.gradient_accumulation_steps or 1
        self._batches = 0
        self.iteration = int(ops.convert_to_numpy(optimizer.iterations))

    def on_train_batch_begin(self, batch, logs=None):
        if self._batches == 0:
            self.on_iteration_begin(self.iteration)

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1
        if self._batches == self._batches_per_iteration:
            self._batches = 0
            self.iteration += 1
            self.on_iteration_end(self.iteration, logs)

    @property
    def makes_update(self):
        """Whether the batch that has begun is the last one of its iteration."""
        return self._batches == self._batches_per_iteration - 1

    def on_iteration_begin(self, iteration):
        """Before an update; `iteration` updates have been made."""

    def on_iteration_end(self, iteration, logs):
        """After an update; `iteration` updates have been made."""

    def _sync(self):
        """Brings what JAX keeps apart while it trains back into the model's variables."""
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()


class Solve(IterationCallback):
    """Begins, watches and ends a training as Solver::Solve and caffe.cpp do.

    It ends after `max_iter` iterations, also within an epoch. `data` is the Stream that
    fit trains on, whose batches are counted here. SIGINT ends training after the
    iteration; a second one ends the process.
    """

    def __init__(self, max_iter, data, log=None):
        super().__init__()
        self.max_iter = max_iter
        self.data = data
        self.log = log or TrainingLog()
        self._interrupted = False

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.log.line(f"Solving {self.model.name}", "solver.cpp:279")
        self._former = None
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number, frame):
        self._interrupted = True
        self._restore_signal()

    def on_train_batch_end(self, batch, logs=None):
        self.data.advance()
        super().on_train_batch_end(batch, logs)

    def on_iteration_end(self, iteration, logs):
        if iteration >= self.max_iter or self._interrupted:
            self.model.stop_training = True
        if self.log.shows_bar:
            self._draw(iteration, logs)

    def _draw(self, iteration, logs):
        numbers = (f"{k} {v:.4g}" for k, v in logs.items() if np.ndim(v) == 0)
        self.log.bar(iteration, self.max_iter, ", ".join(numbers))

    def on_train_end(self, logs=None):
        self._restore_signal()
        early = self.iteration < self.max_iter
        self.log.line(
            "Optimization stopped early." if early else "Optimization Done.",
            "solver.cpp:317" if early else "solver.cpp:332",
        )

    def _restore_signal(self):
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)
            self._former = None


class SmoothedLoss(IterationCallback):
    """Calls `on_loss` after iterations, with the mean loss of the last `average_loss`.

    The loss is that of the iteration's own batches, before the update
    (Solver::UpdateSmoothedLoss). Keras logs the mean over the epoch so far; it is
    measured where `measures` says so, and left alone elsewhere.
    """

    def __init__(self, average_loss=1):
        super().__init__()
        self._losses = collections.deque(maxlen=average_loss)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._losses.clear()

    def measures(self, iteration):
        """Whether the loss of this iteration is wanted."""
        return True

    def on_loss(self, iteration, loss, logs):
        """`iteration` is the number of updates before the one that the loss led to."""

    def on_train_batch_begin(self, batch, logs=None):
        if self._batches == 0:
            self._measured = self.measures(self.iteration)
            self._sum = 0.0
        super().on_train_batch_begin(batch, logs)
        if self._measured:
            self._sync()
            self._set_aside = _set_metrics_aside(self.model)

    def on_train_batch_end(self, batch, logs=None):
        if self._measured:
            self._sum += float(logs["loss"])
            self._sync()
            for variable, value in self._set_aside:
                variable.assign_add(value)
        super().on_train_batch_end(batch, logs)

    def on_iteration_end(self, iteration, logs):
        if self._measured:
            loss = self._sum / self._batches_per_iteration
            smoothed = self.smoothed_with(loss)
            self._losses.append(loss)
            self.on_loss(iteration - 1, smoothed, logs)

    def smoothed_with(self, loss):
        """What the smoothed loss will be after an iteration with this loss."""
        losses = collections.deque(self._losses, self._losses.maxlen)
        losses.append(loss)
        return sum(losses) / len(losses)


class Display(SmoothedLoss):
    """Prints the smoothed loss, outputs and learning rate every `every` iterations.

    `outputs` are the blobs to print; their values are those of the iteration's last
    batch. Where some are outputs of the model, which Keras's logs don't hold, `data` is
    the Stream that is trained on.
    """

    def __init__(self, every, outputs=(), average_loss=1, data=None, log=None):
        super().__init__(average_loss)
        self.every = every
        self.outputs = outputs
        self.data = data
        self.log = log or TrainingLog()
        self._predicted = {}

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._watch, self._last = time.monotonic(), self.iteration

    def measures(self, iteration):
        return -iteration % self.every < self._losses.maxlen

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch, logs)
        if self.iteration % self.every == 0 and self.makes_update:
            self._sync()
            rate = self.model.optimizer.learning_rate
            self._rate = float(ops.convert_to_numpy(rate))
            if self.data is not None:
                predicted = forward(self.model, self.data.peek()[0])
                self._predicted = model_outputs(self.outputs, predicted)

    def on_loss(self, iteration, loss, logs):
        if iteration % self.every == 0:
            self._display(iteration, loss, {**logs, **self._predicted})

    def _display(self, iteration, loss, values):
        now = time.monotonic()
        seconds = now - self._watch
        speed = (iteration - self._last) / (seconds or 1)
        self._watch, self._last = now, iteration
        self.log.line(
            f"Iteration {iteration} ({speed:.6g} iter/s, {seconds:.6g}s/{self.every} "
            f"iters), loss = {loss:.6g}",
            "solver.cpp:239",
        )
        self.log.outputs("Train", self.outputs, values, "solver.cpp:258")
        rate = f"Iteration {iteration}, lr = {self._rate:.6g}"
        self.log.line(rate, "sgd_solver.cpp:112")

    def display_last(self, iteration, loss):
        """Prints the smoothed loss once more, with the `loss` of a batch behind it."""
        text = f"Iteration {iteration}, loss = {self.smoothed_with(loss):.6g}"
        self.log.line(text, "solver.cpp:327")


class LastForward(IterationCallback):
    """Sends the next batch through the trained net, if it is the turn of `display`.

    Caffe does so after the last update, to print the loss; it moves running statistics,
    such as BatchNorm's (Solver::Solve). `solve` knows the data and the last iteration.
    """

    def __init__(self, solve, display):
        super().__init__()
        self.solve = solve
        self.display = display

    def on_iteration_end(self, iteration, logs):
        if iteration == self.solve.max_iter and iteration % self.display.every == 0:
            self._sync()
            self.display.display_last(iteration, self._loss())

    def _loss(self):
        batch = next(self.solve.data)
        return batch_loss(self.model, batch, self.model(batch[0], training=True))


class TestNet:
    """A net that is tested: `test_iter` batches of the Stream `data` each time.

    `outputs` are the blobs to print. Without a `model` it is the trained model; else
    that model's, with the weights of the trained one by layer name. `measure` is what
    tests it, as `evaluate` does.
    """

    __test__ = False  # for pytest

    def __init__(self, data, test_iter, outputs=(), model=None, measure=None):
        self.data = data
        self.test_iter = test_iter
        self.outputs = outputs
        self.model = model
        self.measure = measure or evaluate

    def evaluate(self, trained, log):
        """Tests the weights of the model `trained`; see `evaluate`."""
        if self.model is not None:
            share_weights(self.model, trained)
        model = self.model or trained
        return self.measure(model, self.data, self.test_iter, self.outputs, log)


class Evaluation(IterationCallback):
    """Tests every `every` iterations, and with `at_start` before the first update.

    Each test takes the next batches of its net's data: Keras's `validation_data` would
    begin with the first batches again. The outputs enter the logs of the epoch that ends
    there as `val_<name>`, those of a second net as `val1_<name>`: put callbacks that read
    them behind this one. (Solver::TestAll)
    """

    def __init__(self, nets, every, at_start=True, log=None):
        super().__init__()
        self.nets = nets
        self.every = every
        self.at_start = at_start
        self.log = log or TrainingLog()
        self._results = {}

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        due = self.iteration % self.every == 0
        if due and (self.at_start or self.iteration > 0):
            self._test()

    def on_iteration_end(self, iteration, logs):
        if iteration % self.every == 0:
            self._sync()
            with _untouched_metrics(self.model):
                self._test()

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self._results)

    def _test(self):
        self._results = {}
        for number, net in enumerate(self.nets):
            text = f"Iteration {self.iteration}, Testing net (#{number})"
            self.log.line(text, "solver.cpp:347")
            prefix = f"val{number or ''}_"
            for name, value in net.evaluate(self.model, self.log).items():
                self._results[prefix + name] = value


def evaluate(model, data, test_iter, outputs=(), log=None):
    """Tests `model` on the next `test_iter` batches of the iterator `data`.

    Prints the `outputs` (without them, all that Keras computes), and returns each number's
    mean over the batches, also where batches count differently many labels: the loss and
    the metrics by Keras's names, outputs of the model by their own. (Solver::Test)
    """
    means = batch_means(model, data, test_iter, outputs)
    printed = outputs or [Output(name, name) for name in means]
    (log or TrainingLog()).outputs("Test", printed, means, "solver.cpp:414")
    own = {output.top: means.pop(output) for output in outputs if not output.key}
    return {name: value for name, value in own.items() if not np.ndim(value)} | means


def batch_means(model, data, test_iter, outputs=()):
    """The means over `test_iter` batches: of what Keras computes, by its names, and by
    the `outputs` themselves of those that are outputs of the model."""
    sums = collections.Counter()
    for _ in range(test_iter):
        batch = next(data)
        model.reset_metrics()
        values = model.test_on_batch(*batch, return_dict=True)
        if not all(output.key for output in outputs):
            values |= model_outputs(outputs, model.predict_on_batch(batch[0]))
        for name, value in values.items():
            sums[name] = sums[name] + np.asarray(value, "float64")
    return {name: _plain(total / test_iter) for name, total in sums.items()}


def _plain(mean):
    """Returns a number as a float, a vector as it is."""
    return mean if mean.ndim else float(mean)


def _set_metrics_aside(model):
    """Sets the metrics back to nothing; the variables with the sums that they held."""
    variables = [v for metric in model.metrics for v in metric.variables]
    held = [(v, ops.convert_to_numpy(v).copy()) for v in variables]
    model.reset_metrics()
    return held


@contextlib.contextmanager
def _untouched_metrics(model):
    """Keeps the metrics of the epoch so far from what happens within."""
    held = _set_metrics_aside(model)
    try:
        yield
    finally:
        for variable, value in held:
            variable.assign(value)
