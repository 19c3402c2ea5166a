"""Flags of train.py beside the solver's settings, and what they do."""

import argparse
import contextlib
import gc

import keras
import numpy as np

from .devices import device_scope, gpu_numbers
from .tensorboard import TensorBoardCurves


def add_flags(parser, batch_size=None):
    """Adds the flags to an argparse parser.

    `batch_size` is that of the training data; without it the batch can't be changed.
    """
    add_device_flags(parser, several=batch_size is not None)
    group = parser.add_argument_group("training")
    if batch_size is not None:
        group.add_argument(
            "--batch-size",
            type=_positive,
            default=batch_size,
            metavar="N",
            help="samples in a training batch, on each GPU (default: %(default)s)",
        )
    group.add_argument(
        "--class-weight",
        type=class_weights,
        metavar="0=1,1=2.5",
        help="weigh the loss of each sample by its label; other labels weigh 1",
    )
    group.add_argument(
        "--early-stopping",
        type=_positive,
        metavar="N",
        help="stop when the loss has not become better for N epochs",
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--checkpoint",
        type=checkpoint_pattern,
        metavar="PATTERN",
        help="save the best model so far, for example as best_{epoch}_{val_loss:.3f}.keras",
    )
    group.add_argument(
        "--tensorboard", metavar="DIR", help="write curves for TensorBoard there"
    )
    group.add_argument(
        "--summary", action="store_true", help="print the model's layers first"
    )
    group.add_argument(
        "--plot-model", metavar="FILE", help="draw the model to a .png or .svg first"
    )


def add_device_flags(parser, several=False):
    """Adds the flags that say what a model runs on, and in which precision."""
    group = parser.add_argument_group("device")
    group.add_argument(
        "--cpu", action="store_true", help="leave the GPU alone where there is one"
    )
    group.add_argument(
        "--gpus",
        "--gpu",
        type=gpu_numbers if several else _one_gpu,
        metavar="0,1|all" if several else "N",
        help="the GPUs to use; each of several takes a batch of its own"
        if several
        else "the GPU to use",
    )
    group.add_argument(
        "--memory-limit", type=_positive, metavar="MB", help="of each GPU's memory"
    )
    group.add_argument(
        "--mixed-precision",
        action="store_true",
        help="compute in bfloat16, with weights in float32",
    )


@contextlib.contextmanager
def chosen_device(args):
    """The scope of `--cpu`, `--gpus`, `--memory-limit` and `--mixed-precision`."""
    policy = keras.config.dtype_policy()
    if args.mixed_precision:
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with device_scope(args.gpus, args.memory_limit, args.cpu):
            yield
    finally:
        keras.config.set_dtype_policy(policy)
        # fit leaves its iterator in a cycle; TensorFlow ends it only while Python runs.
        gc.collect()


def show(model, args):
    """What `--summary` and `--plot-model` ask for, of a compiled model."""
    if args.summary:
        model.summary()
    if args.plot_model:
        try:
            keras.utils.plot_model(model, args.plot_model, show_shapes=True)
        except ImportError as error:
            raise SystemExit(f"--plot-model: {error}") from None


def global_batch_size(args):
    """The samples of an iteration's batch: those of all GPUs together."""
    return args.batch_size * len(args.gpus or [0])


def flag_callbacks(args, monitor="val_loss"):
    """The callbacks that the flags ask for; they come behind what logs `monitor`."""
    callbacks = []
    if args.tensorboard:
        callbacks.append(TensorBoardCurves(args.tensorboard))
    if args.early_stopping:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor, patience=args.early_stopping, mode="min", verbose=1
            )
        )
    if args.checkpoint:
        callbacks.append(
            keras.callbacks.ModelCheckpoint(
                args.checkpoint,
                monitor,
                mode="min",
                save_best_only=True,
                save_weights_only=args.checkpoint.endswith(".weights.h5"),
            )
        )
    return callbacks


def weighted(batches, weights):
    """The batches (x, y) as (x, y, sample_weight), where there are `weights` of labels.

    Every output is weighed by the one label that each sample has. Raises ValueError if
    it has several, as in segmentation, or if the outputs have different targets.
    """
    return batches if weights is None else _weighted(batches, weights)


def _weighted(batches, weights):
    for x, y in batches:
        labels = _only_labels(y)
        weight = np.ones(len(labels), "float32")
        for label, value in weights.items():
            weight[labels == label] = value
        yield x, y, dict.fromkeys(y, weight) if isinstance(y, dict) else weight


def _only_labels(y):
    """The label of each sample, shape (N,)."""
    targets = list(y.values()) if isinstance(y, dict) else [y]
    first = np.asarray(targets[0])
    if any(not np.array_equal(first, other) for other in targets[1:]):
        raise ValueError("--class-weight: the outputs have different targets")
    if first.size != len(first):
        raise ValueError(
            f"--class-weight: a sample has {first.size // len(first)} targets, not one"
        )
    return first.reshape(-1)


def class_weights(text):
    """{label: weight} of "0=1,1=2.5"."""
    try:
        pairs = (part.split("=") for part in text.split(","))
        return {int(label): float(weight) for label, weight in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0=1,1=2.5") from None


def checkpoint_pattern(text):
    """A file name that Keras takes."""
    if not text.endswith((".keras", ".weights.h5")):
        raise argparse.ArgumentTypeError(
            f"{text!r} ends neither in .keras nor in .weights.h5"
        )
    return text


def _one_gpu(text):
    numbers = gpu_numbers(text)
    if len(numbers) > 1:
        raise argparse.ArgumentTypeError(
            "the batches of this data can't be multiplied: give one GPU"
        )
    return numbers


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
    return number
