"""Runs a training script, and prints the seconds that fit() takes for a training step.

python timed_fit.py WARM_UP STEPS SCRIPT [ARGUMENTS]: fit() ends after WARM_UP steps that
are not counted and STEPS that are; the last line of the output is the seconds of a step.
"""

import runpy
import sys
import time

import keras


class Timer(keras.callbacks.Callback):
    """Counts the steps of fit(), and takes the time of those behind the warm-up."""

    def __init__(self, warm_up, steps):
        super().__init__()
        self.first, self.last = warm_up, warm_up + steps
        self.seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.first:
            self.start = time.perf_counter()
        elif self.seen == self.last:
            seconds = (time.perf_counter() - self.start) / (self.last - self.first)
            print(f"\n{seconds:.9f}", flush=True)
            raise SystemExit


def main(warm_up, steps, script, *arguments):
    fit = keras.Model.fit

    def timed(model, *args, callbacks=(), **kwargs):
        timer = Timer(int(warm_up), int(steps))
        return fit(model, *args, callbacks=[*callbacks, timer], **kwargs)

    keras.Model.fit = timed
    sys.argv = [script, *arguments]
    sys.path[0] = script.rpartition("/")[0]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
