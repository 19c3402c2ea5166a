"""Trains the net of model.py as solver.prototxt says.

    python train.py                               # from the initial weights
    python train.py --weights FILE.h5             # fine-tune: layers are loaded by name
    python train.py --resume                      # go on from the latest snapshot
    python train.py --weights FILE.h5 --evaluate  # test only
    KERAS_BACKEND=jax python train.py             # or tensorflow, or torch

The settings are the solver's; beside each stands the line that it comes from.
"""

import argparse
import math

import keras

from caffe_runtime.callbacks import Display, Evaluation, LastForward, Solve, TestNet
from caffe_runtime.data_flags import add_data_flags, data_options
from caffe_runtime.devices import for_fit
from caffe_runtime.finetune import load_caffe_weights, named_files
from caffe_runtime.flags import (
    add_flags,
    chosen_device,
    flag_callbacks,
    global_batch_size,
    show,
    weighted,
)
from caffe_runtime.multipliers import Multiplier, resolve_multipliers
from caffe_runtime.optimizers import CaffeNesterov
from caffe_runtime.run_flags import add_run_flags
from caffe_runtime.schedules import Step
from caffe_runtime.snapshots import (
    Snapshot,
    choose_seed,
    find_snapshot,
    read_place,
    restore,
)
from caffe_runtime.streams import Stream
from caffe_runtime.training_log import Output, TrainingLog
from data import TRAIN_BATCH_SIZE, test_data, train_data
from model import build_model, losses, metrics

# solver_mode: CPU (solver.prototxt:22): Keras takes a GPU if there is one, unless --cpu

# the test set, and how often to measure it
TEST_ITER = 2  # solver.prototxt:4
TEST_INTERVAL = 50  # solver.prototxt:5
BASE_LR = 0.005  # solver.prototxt:8
MOMENTUM = 0.9  # solver.prototxt:9
WEIGHT_DECAY = 0.0005  # solver.prototxt:10
ITER_SIZE = 2  # solver.prototxt:11
GAMMA = 0.1  # solver.prototxt:14
STEPSIZE = 150  # solver.prototxt:15

# what to print, when to stop, what to keep
DISPLAY = 20  # solver.prototxt:17
MAX_ITER = 200  # solver.prototxt:18
SNAPSHOT = 100  # solver.prototxt:19
SNAPSHOT_PREFIX = "vgg_like"  # solver.prototxt:20
RANDOM_SEED = 1701  # solver.prototxt:23

# lr_mult and decay_mult: of a weight in every layer, then of layers that differ
MULTIPLIERS = {"bias": Multiplier(lr=2, decay=0)}

# what the log prints: Caffe's blob, Keras's name for it, its weight in the loss
TRAIN_OUTPUTS = [Output("loss", "loss", loss_weight=1.0)]
TEST_OUTPUTS = [Output("accuracy", "accuracy"), Output("loss", "loss", loss_weight=1.0)]


def build_optimizer(model):
    """Returns the solver's update rule with its learning rate policy."""
    # two batches of 20 per update
    # type: "Nesterov" (solver.prototxt:7)
    # the learning rate policy
    # lr_policy: "step" (solver.prototxt:13)
    return CaffeNesterov(
        Step(BASE_LR, gamma=GAMMA, stepsize=STEPSIZE),
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        iter_size=ITER_SIZE,
        multipliers=resolve_multipliers(model, MULTIPLIERS),
    )


def compiled_model(weights):
    """Returns the net, with the layers of the files `weights`, ready to train and test."""
    model = build_model()
    for path in named_files(weights):
        print(f"{path}:\n{load_caffe_weights(model, path)}")
    model.compile(
        optimizer=build_optimizer(model),
        loss=losses(),
        metrics=metrics(),
    )
    return model


def test_nets(args, seed):
    """Returns the nets that are tested, in the solver's order."""
    return [
        TestNet(
            Stream(test_data(**data_options(args, seed, "TEST"))),
            TEST_ITER,
            TEST_OUTPUTS,
        )
    ]


def train(model, args, seed, place=None, log=None):
    """Trains up to MAX_ITER iterations, or for `args.epochs` times TEST_INTERVAL.

    The data begins at `place`, where a snapshot was taken.
    """
    start = int(model.optimizer.iterations)
    max_iter = MAX_ITER if args.epochs is None else start + args.epochs * TEST_INTERVAL
    batches = train_data(batch_size=global_batch_size(args), **data_options(args, seed))
    data = Stream(weighted(batches, args.class_weight))
    tests = test_nets(args, seed)
    streams = [data, *(net.data for net in tests)]
    if place is not None:
        place.skip(streams)
    solve = Solve(max_iter, data, log)
    display = Display(DISPLAY, TRAIN_OUTPUTS, log=log)
    callbacks = [
        solve,
        display,
        Snapshot(SNAPSHOT_PREFIX, streams, seed, every=SNAPSHOT, log=log),
        LastForward(solve, display),
        Evaluation(tests, every=TEST_INTERVAL, log=log),
        *flag_callbacks(args),
    ]
    model.fit(
        for_fit(data),
        initial_epoch=start // TEST_INTERVAL,
        epochs=math.ceil(max_iter / TEST_INTERVAL) if start < max_iter else 0,
        steps_per_epoch=TEST_INTERVAL * ITER_SIZE,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )


def parse_args(arguments=None):
    """Returns the flags of the command line, or of a list of `arguments`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run_flags(parser, "TEST_INTERVAL", seed=RANDOM_SEED, tests=True, snapshots=True)
    add_flags(parser, batch_size=TRAIN_BATCH_SIZE)
    add_data_flags(parser)
    return parser.parse_args(arguments)


def main():
    args = parse_args()
    snapshot = find_snapshot(args.resume, SNAPSHOT_PREFIX)
    place = read_place(snapshot)
    seed = choose_seed(args.seed, place)
    keras.utils.set_random_seed(seed)
    log = TrainingLog(args.log)
    with chosen_device(args):
        model = compiled_model(args.weights)
        if snapshot:
            log.line(f"Resuming from {snapshot}", "caffe.cpp:235")
            restore(model, snapshot)
        show(model, args)
        if args.evaluate:
            for net in test_nets(args, seed):
                net.evaluate(model, log)
            return
        train(model, args, seed, None if args.restart_data else place, log)


if __name__ == "__main__":
    main()
