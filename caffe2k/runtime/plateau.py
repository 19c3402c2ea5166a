"""lr_policy "plateau": the rate falls when the loss has stopped falling."""

from .callbacks import SmoothedLoss
from .forward import batch_loss, forward


class Plateau(SmoothedLoss):
    """Multiplies `base_lr` with `gamma` when no event has come for a while.

    An event is a new minimum of the smoothed loss, or a change of the rate; the i-th
    change comes `winsize[i]` iterations after the last event, unless the loss of that very
    iteration is a new minimum. Keras tells the loss after the update, so where a change is
    due a forward pass tells it before. `data` is the Stream that is trained on.
    (intel/caffe, sgd_solver.cpp, GetLearningRate.)
    """

    def __init__(self, base_lr, gamma, winsize, data, average_loss=1):
        super().__init__(average_loss)
        self.base_lr = base_lr
        self.gamma = gamma
        self.winsize = winsize
        self.data = data
        self.current_step = 0
        self.minimum_loss = float("inf")
        self.iter_last_event = 0

    def state(self):
        """What a snapshot keeps of it."""
        names = ("current_step", "minimum_loss", "iter_last_event")
        return {name: getattr(self, name) for name in names}

    def resume(self, place):
        """Goes on at the Place of a snapshot."""
        for name, value in place.policy.items():
            if value is not None:
                setattr(self, name, value)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._set_rate()

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch, logs)
        if self.makes_update and self._is_due(self.iteration):
            self._sync()
            self.on_loss(self.iteration, self._coming_loss(), logs)
            if self._is_due(self.iteration):
                self.current_step += 1
                self.iter_last_event = self.iteration
                self._set_rate()

    def on_loss(self, iteration, loss, logs):
        if loss < self.minimum_loss:
            self.minimum_loss, self.iter_last_event = loss, iteration

    def _is_due(self, iteration):
        if self.current_step == len(self.winsize):
            return False
        return iteration >= self.iter_last_event + self.winsize[self.current_step]

    def _coming_loss(self):
        """The smoothed loss with the iteration whose last batch is about to be used."""
        batch = self.data.peek()
        last = batch_loss(self.model, batch, forward(self.model, batch[0]))
        return self.smoothed_with((self._sum + last) / self._batches_per_iteration)

    def _set_rate(self):
        rate = self.base_lr * self.gamma**self.current_step
        self.model.optimizer.learning_rate = rate
