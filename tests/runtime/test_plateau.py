"""lr_policy "plateau" against its rule, counted by hand."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.optimizers import CaffeSGD
from caffe2k.runtime.plateau import Plateau
from caffe2k.runtime.snapshots import Place


def rates(losses, plateau):
    """The rate in effect at each iteration, where each has the loss that is given."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), layer])
    layer.trainable_weights[0].assign([[0.0]])
    model.compile(CaffeSGD(1.0), loss="mae")
    found = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            found.append(float(np.asarray(self.model.optimizer.learning_rate)))

    # The input is 0, so that nothing is learned and the loss is the target.
    data = ((np.zeros((1, 1), "float32"), np.array([[x]], "float32")) for x in losses)
    steps = len(losses) - 3
    callbacks = [Watch(), plateau]
    settings = {"steps_per_epoch": steps, "shuffle": False, "verbose": 0}
    model.fit(data, callbacks=callbacks, **settings)
    return found


def test_the_rate_falls_after_so_many_iterations_without_an_event():
    losses = [5, 4, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0]
    plateau = Plateau(0.5, 0.1, [3, 2])
    found = rates(losses, plateau)
    # Minima at 0, 1, 2 and 5; windows end at 8 and 10.
    assert found == pytest.approx([0.5] * 9 + [0.05] * 2 + [0.005])
    state = plateau.state()
    assert state == {"current_step": 2, "minimum_loss": 2.0, "iter_last_event": 10}
    resumed = Plateau(0.5, 0.1, [3, 2])
    resumed.resume(Place(12, [], policy=state))
    assert rates([9] * 5, resumed) == pytest.approx([0.005, 0.005])


def test_smoothing():
    losses = [4, 2, 3, 1, 9, 9, 0, 0, 0]
    plateau = Plateau(1.0, 0.5, [1], average_loss=2)
    # Means 4, 3, 2.5, 2, 5: no new minimum at 4.
    assert rates(losses, plateau) == pytest.approx([1.0] * 5 + [0.5])
