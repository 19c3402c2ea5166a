"""What Caffe's solver does between updates: test, display, snapshot, stop.

All count Caffe's iterations: one is one update of the weights, which with `iter_size`
takes several batches. Lines are printed in the words of Caffe's log.
"""

import collections
import os

import keras
import numpy as np
from keras import ops


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

    def on_iteration_begin(self, iteration):
        """Before an update; `iteration` updates have been made."""

    def on_iteration_end(self, iteration, logs):
        """After an update; `iteration` updates have been made."""


class StopAt(IterationCallback):
    """Ends training after `max_iter` iterations, also within an epoch."""

    def __init__(self, max_iter):
        super().__init__()
        self.max_iter = max_iter

    def on_iteration_end(self, iteration, logs):
        if iteration >= self.max_iter:
            self.model.stop_training = True


class Snapshot(IterationCallback):
    """Saves the model to `<prefix>_iter_<iteration>.keras` (Solver::Snapshot).

    That happens every `every` iterations (0: never) and, with `after_train`, at the end.
    The file holds the net, its weights, and the optimizer with its history and iteration.
    It appears whole or not at all; folders in `prefix` are made.
    """

    def __init__(self, prefix, every=0, after_train=True):
        super().__init__()
        self.prefix = prefix
        self.every = every
        self.after_train = after_train

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        os.makedirs(os.path.dirname(self.prefix) or ".", exist_ok=True)

    def on_iteration_end(self, iteration, logs):
        if self.every and iteration % self.every == 0:
            self._save(iteration)

    def on_train_end(self, logs=None):
        saved = self.every and self.iteration % self.every == 0
        if self.after_train and not saved:
            self._save(self.iteration)

    def _save(self, iteration):
        path = f"{self.prefix}_iter_{iteration}.keras"
        partial = f"{path}.partial.keras"
        print(f"Snapshotting to {path}")
        try:
            self.model.save(partial)
            os.replace(partial, path)
        finally:
            if os.path.exists(partial):
                os.remove(partial)


class Display(IterationCallback):
    """Prints the loss and the learning rate every `every` iterations.

    The loss is that of the iteration's own batches, before the update, averaged over
    the last `average_loss` iterations (Solver::UpdateSmoothedLoss).
    """

    def __init__(self, every, average_loss=1):
        super().__init__()
        self.every = every
        self._losses = collections.deque(maxlen=average_loss)

    def on_iteration_begin(self, iteration):
        # Iterations whose loss enters no line are left to Keras.
        self._measured = -iteration % self.every < self._losses.maxlen
        self._displayed = iteration % self.every == 0
        if self._displayed:
            rate = self.model.optimizer.learning_rate
            self._rate = float(ops.convert_to_numpy(rate))
        if self._measured:
            # Keras logs the mean over the epoch so far: set it aside.
            tracker = self._loss_tracker()
            self._epoch_loss = [ops.convert_to_numpy(v) for v in tracker.variables]
            tracker.reset_state()

    def on_iteration_end(self, iteration, logs):
        if not self._measured:
            return
        self._losses.append(float(logs["loss"]))
        for variable, value in zip(
            self._loss_tracker().variables, self._epoch_loss, strict=True
        ):
            variable.assign_add(value)
        if self._displayed:
            loss = sum(self._losses) / len(self._losses)
            line = (
                f"Iteration {iteration - 1}, loss = {loss:.6g}, lr = {self._rate:.6g}"
            )
            print(line)

    def _loss_tracker(self):
        return next(m for m in self.model.metrics if m.name == "loss")


class Evaluation(IterationCallback):
    """Tests at the end of each epoch that ends on a multiple of `every` iterations.

    Each test takes the next `test_iter` batches of `data`: Keras's `validation_data`
    would begin with the first batches again. With `at_start` there is a test before the
    first update. The outputs enter Keras's logs as `val_<name>`: put callbacks that read
    them behind this one. (Solver::TestAll)
    """

    def __init__(self, data, test_iter, every, at_start=True):
        super().__init__()
        self.data = data
        self.test_iter = test_iter
        self.every = every
        self.at_start = at_start

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self.at_start and self.iteration == 0:
            self._test()

    def on_epoch_end(self, epoch, logs=None):
        if self.iteration % self.every == 0:
            outputs = self._test()
            logs.update({f"val_{name}": value for name, value in outputs.items()})

    def _test(self):
        print(f"Iteration {self.iteration}, Testing net (#0)")
        return evaluate(self.model, self.data, self.test_iter)


def evaluate(model, data, test_iter):
    """Tests `model` on the next `test_iter` batches of the iterator `data`.

    Prints and returns each output's mean over the batches: the loss, the metrics, and
    what layers compute of a whole batch, such as LossEndpoint (Solver::Test). Also where
    batches count differently many labels. A vector has a line for each of its values.
    """
    inner = _batch_outputs(model)
    sums = collections.Counter()
    for _ in range(test_iter):
        batch = next(data)
        model.reset_metrics()
        outputs = model.test_on_batch(*batch, return_dict=True)
        if inner:
            predictions = model.predict_on_batch(batch[0])
            outputs.update({name: predictions[name][0] for name in inner})
        for name, value in outputs.items():
            sums[name] = sums[name] + np.asarray(value, "float64")
    means = {name: _plain(total / test_iter) for name, total in sums.items()}
    for name, mean in means.items():
        for value in np.ravel(mean):
            print(f"    Test net output: {name} = {value:.6g}")
    return means


def _batch_outputs(model):
    """The outputs that say the same for every sample: one number of the whole batch."""
    output = getattr(model, "output", None)
    if not isinstance(output, dict):
        return []
    return [
        name
        for name, tensor in output.items()
        if tuple(tensor.shape) == (1,)
        or getattr(tensor._keras_history.operation, "repeats_number", False)
    ]


def _plain(mean):
    """Returns a number as a float, a vector as it is."""
    return mean if mean.ndim else float(mean)
