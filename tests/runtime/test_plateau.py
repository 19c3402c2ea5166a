"""lr_policy "plateau" against its rule, counted by hand."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.callbacks import Solve
from caffe2k.runtime.optimizers import CaffeSGD
from caffe2k.runtime.plateau import Plateau
from caffe2k.runtime.snapshots import Place
from caffe2k.runtime.streams import Stream


def rates(losses, winsize, gamma=0.1, place=None, iter_size=1, **settings):
    """The rate of each update, where each batch has the loss that is given; the Plateau."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    found = []

    class Watched(CaffeSGD):
        def apply(self, grads, trainable_variables=None):
            found.append(float(np.asarray(self.learning_rate)))
            super().apply(grads, trainable_variables)

    optimizer = Watched(1.0, iter_size=iter_size)
    model.compile(optimizer, loss="mae", run_eagerly=True)
    # The input is 0, so that nothing is learned and the loss is the target.
    stream = Stream(
        (np.zeros((1, 1), "float32"), np.array([[x]], "float32"))
        for x in [*losses, 0, 0, 0]
    )
    plateau = Plateau(0.5, gamma, winsize, stream, **settings)
    if place is not None:
        optimizer.resume_at(place.iteration)
        plateau.resume(place)
    model.fit(
        stream.unused(),
        steps_per_epoch=len(losses),
        callbacks=[Solve(100, stream), plateau],
        shuffle=False,
        verbose=0,
    )
    return found[iter_size - 1 :: iter_size], plateau


def test_the_rate_falls_after_so_many_iterations_without_an_event():
    found, plateau = rates([5, 4, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2], [3, 2])
    # Minima at 0, 1, 2 and 5; windows end at 8 and 10.
    assert found == pytest.approx([0.5] * 8 + [0.05] * 2 + [0.005] * 2)
    state = plateau.state()
    assert state == {"current_step": 2, "minimum_loss": 2.0, "iter_last_event": 10}
    found, _ = rates([9] * 2, [3, 2], place=Place(12, [], policy=state))
    assert found == pytest.approx([0.005, 0.005])


def test_a_minimum_in_the_last_iteration_of_a_window_keeps_the_rate():
    found, plateau = rates([5, 5, 4, 4, 4, 4], [2])
    # A minimum at 2, where the window of 0 ends.
    assert found == pytest.approx([0.5] * 4 + [0.05] * 2)
    assert plateau.iter_last_event == 4


def test_smoothing():
    found, _ = rates([4, 2, 3, 1, 9, 9], [1], gamma=0.5, average_loss=2)
    # Means 4, 3, 2.5, 2, 5: no new minimum at 4.
    assert found == pytest.approx([0.5] * 4 + [0.25] * 2)


def test_an_iteration_of_several_batches():
    found, _ = rates([4, 4, 3, 3, 0, 6, 4, 1, 3, 3], [1], iter_size=2)
    # Means 4, 3, 3 and 2.5, 3: no new minima at 2 and 4.
    assert found == pytest.approx([0.5] * 2 + [0.05] * 3)
