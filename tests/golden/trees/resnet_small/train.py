"""Trains the net of model.py as solver.prototxt says.

    python train.py                               # from the initial weights
    python train.py --weights FILE.h5             # fine-tune: layers are loaded by name
    python train.py --weights FILE.h5 --evaluate  # test only
    KERAS_BACKEND=jax python train.py             # or tensorflow, or torch

The settings are the solver's; beside each stands the line that it comes from.
"""

import argparse
import contextlib
import math

import keras

from caffe_runtime.callbacks import Display, Evaluation, Snapshot, StopAt, evaluate
from caffe_runtime.finetune import load_caffe_weights
from caffe_runtime.multipliers import Multiplier, resolve_multipliers
from caffe_runtime.optimizers import CaffeSGD
from caffe_runtime.schedules import MultiStep
from data import test_data, train_data
from model import build_model, losses, metrics

# solver_mode: CPU (solver.prototxt:22): Keras takes a GPU if there is one, unless --cpu

# the test set, and how often to measure it
TEST_ITER = 2  # solver.prototxt:4
TEST_INTERVAL = 50  # solver.prototxt:5
BASE_LR = 0.05  # solver.prototxt:8
MOMENTUM = 0.9  # solver.prototxt:9
WEIGHT_DECAY = 0.0001  # solver.prototxt:10
GAMMA = 0.1  # solver.prototxt:13
STEPVALUE = [100, 160]  # solver.prototxt:14

# what to print, when to stop, what to keep
DISPLAY = 20  # solver.prototxt:17
MAX_ITER = 200  # solver.prototxt:18
SNAPSHOT = 100  # solver.prototxt:19
SNAPSHOT_PREFIX = "resnet"  # solver.prototxt:20
RANDOM_SEED = 1701  # solver.prototxt:23

# lr_mult and decay_mult: of a weight in every layer, then of layers that differ
MULTIPLIERS = {
    "scale": Multiplier(decay=0),
    "bias": Multiplier(decay=0),
    "fc5": {"bias": Multiplier(lr=2, decay=0)},
}


def build_optimizer(model):
    """Returns the solver's update rule with its learning rate policy."""
    # the update rule
    # type: "SGD" (solver.prototxt:7)
    # the learning rate policy
    # lr_policy: "multistep" (solver.prototxt:12)
    return CaffeSGD(
        MultiStep(BASE_LR, gamma=GAMMA, stepvalue=STEPVALUE),
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        multipliers=resolve_multipliers(model, MULTIPLIERS),
    )


def compiled_model(weights):
    """Returns the net, with the layers of the files `weights`, ready to train and test."""
    model = build_model()
    for path in weights:
        print(f"{path}:\n{load_caffe_weights(model, path)}")
    model.compile(
        optimizer=build_optimizer(model),
        loss=losses(),
        metrics=metrics(),
    )
    return model


def train(model, epochs=None):
    """Trains for MAX_ITER iterations, or for `epochs` times TEST_INTERVAL."""
    max_iter = MAX_ITER if epochs is None else epochs * TEST_INTERVAL
    callbacks = [
        Evaluation(test_data(), TEST_ITER, every=TEST_INTERVAL),
        Display(DISPLAY),
        Snapshot(SNAPSHOT_PREFIX, every=SNAPSHOT),
        StopAt(max_iter),
    ]
    model.fit(
        train_data(),
        epochs=math.ceil(max_iter / TEST_INTERVAL),
        steps_per_epoch=TEST_INTERVAL,
        callbacks=callbacks,
        shuffle=False,
        verbose=2,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="FILE",
        help=".h5 files or .keras snapshots whose layers are loaded by name",
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="test on TEST_ITER batches only"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        help="train for so many times TEST_INTERVAL iterations, not for MAX_ITER",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=RANDOM_SEED,
        help="seed of initial weights and Dropout (default: %(default)s)",
    )
    parser.add_argument(
        "--cpu", action="store_true", help="leave the GPU alone where there is one"
    )
    args = parser.parse_args()

    if args.seed is not None:
        keras.utils.set_random_seed(args.seed)
    with keras.device("cpu:0") if args.cpu else contextlib.nullcontext():
        model = compiled_model(args.weights)
        if args.evaluate:
            evaluate(model, test_data(), TEST_ITER)
        else:
            train(model, args.epochs)


if __name__ == "__main__":
    main()
