"""Flags of train.py for where a training starts, how long it goes, and what it prints."""

import argparse

from .snapshots import LATEST


class _Start(argparse.Action):
    """Where a training starts: what is given takes the place of any default."""

    def __call__(self, parser, namespace, values, option_string=None):
        namespace.weights, namespace.resume = [], None
        setattr(namespace, self.dest, values)


def add_run_flags(parser, epoch, seed=None, tests=False, snapshots=False):
    """Adds the flags to an argparse parser.

    `epoch` names the setting that says how many iterations one is; `seed` is the
    solver's. `tests` and `snapshots` say whether the training makes any.
    """
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--weights",
        action=_Start,
        nargs="+",
        default=[],
        metavar="FILE",
        help=".h5 files or .keras snapshots, also joined by commas, whose layers are "
        "loaded by name",
    )
    latest = {"nargs": "?", "const": LATEST} if snapshots else {}
    start.add_argument(
        "--resume",
        "--snapshot",
        action=_Start,
        metavar="SNAPSHOT",
        help="go on from a snapshot" + ", by default the latest" * snapshots,
        **latest,
    )
    parser.add_argument(
        "--restart-data",
        action="store_true",
        help="resume with the data from its start, as Caffe does",
    )
    if tests:
        parser.add_argument(
            "--evaluate", action="store_true", help="test on TEST_ITER batches only"
        )
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help=f"train for so many times {epoch} iterations, not for MAX_ITER",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=seed,
        metavar="N",
        help="seed of all random numbers (default: %(default)s)",
    )
    parser.add_argument(
        "--log",
        choices=["bar", "lines", "caffe"],
        default="bar",
        help="what to print: lines, with a progress bar below, or Caffe's log",
    )
