"""lr_policy "plateau": the rate falls when the loss has stopped falling."""

from .callbacks import SmoothedLoss


class Plateau(SmoothedLoss):
    """Multiplies `base_lr` with `gamma` when no event has come for a while.

    An event is a new minimum of the smoothed loss, or a change of the rate; the i-th
    change comes `winsize[i]` iterations after the last event. Keras knows the loss of an
    iteration after its update, so a new rate holds from the next iteration on, one later
    than in Caffe. (intel/caffe, sgd_solver.cpp, GetLearningRate.)
    """

    def __init__(self, base_lr, gamma, winsize, average_loss=1):
        super().__init__(average_loss)
        self.base_lr = base_lr
        self.gamma = gamma
        self.winsize = winsize
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

    def on_loss(self, iteration, loss, logs):
        if loss < self.minimum_loss:
            self.minimum_loss, self.iter_last_event = loss, iteration
        if self.current_step == len(self.winsize):
            return
        if iteration >= self.iter_last_event + self.winsize[self.current_step]:
            self.current_step += 1
            self.iter_last_event = iteration
            self._sync()
            self._set_rate()

    def _set_rate(self):
        rate = self.base_lr * self.gamma**self.current_step
        self.model.optimizer.learning_rate = rate
