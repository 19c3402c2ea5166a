"""Snapshots: all that a training needs to go on as if it had never stopped.

A snapshot is a .keras file: the net, its weights, the optimizer with its history, and
beside them in the archive the Place: iteration, data and random numbers. What
`caffe2k solverstate` makes of Caffe's own is an .h5 file.
"""

import contextlib
import dataclasses
import json
import os
import re
import secrets
import signal
import tempfile
import threading
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
from keras import ops

from .callbacks import IterationCallback
from .finetune import load_caffe_weights
from .training_log import TrainingLog

LATEST = "latest"
"""What --resume asks for when it is given no file."""

_MEMBER = "caffe_state.json"
_GROUP = "caffe_state"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a training stands.

    iteration: the updates that were made. batches: how many batches were used, of the
    training data and then of each test net's. seed: what the data's random order and
    crops were drawn from, None if it isn't known. random: the states of what Dropout and
    the like draw from, which Keras does not save. policy: what a learning rate policy
    has seen. type: the solver's, such as SGD, None if it isn't known.
    """

    iteration: int
    batches: list
    seed: int | None = None
    random: list = dataclasses.field(default_factory=list)
    policy: dict = dataclasses.field(default_factory=dict)
    type: str | None = None

    def skip(self, streams):
        """Brings fresh streams to the place where they were left."""
        for stream, count in zip(streams, self.batches, strict=True):
            stream.skip(count)


def choose_seed(given, place=None):
    """The seed that was given, else that of the resumed training, else a random one."""
    if given is not None:
        return given
    if place is not None and place.seed is not None:
        return place.seed
    return secrets.randbits(32)


def find_snapshot(asked, prefix):
    """The snapshot that was asked for; for LATEST that of the highest iteration.

    Returns None where none was asked for. Raises FileNotFoundError where `prefix` has
    none.
    """
    if asked != LATEST:
        return asked
    path = Path(prefix)
    pattern = re.compile(re.escape(path.name) + r"_iter_(\d+)\.keras")
    found = {
        int(match[1]): file
        for file in path.parent.glob("*.keras")
        if (match := pattern.fullmatch(file.name))
    }
    if not found:
        raise FileNotFoundError(f"there is no snapshot {prefix}_iter_....keras")
    return str(found[max(found)])


def read_place(path):
    """Where the training stood whose snapshot `path` is; None for none.

    Raises ValueError for a file that is no snapshot.
    """
    if path is None:
        return None
    text = _read_member(path) if zipfile.is_zipfile(path) else _read_attribute(path)
    if text is None:
        raise ValueError(
            f"{path} is no snapshot to resume from: train.py writes .keras files, and "
            f"`caffe2k solverstate` makes one of Caffe's .solverstate"
        )
    return Place(**json.loads(text))


def _read_member(path):
    with zipfile.ZipFile(path) as archive:
        known = _MEMBER in archive.namelist()
        return archive.read(_MEMBER).decode() if known else None


def _read_attribute(path):
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    if not h5py.is_hdf5(path):
        return None
    with h5py.File(path) as file:
        return file[_GROUP].attrs["place"] if _GROUP in file else None


def restore(model, path):
    """Gives a compiled model the weights and the history of a snapshot.

    Raises ValueError where they don't fit the model or its optimizer.
    """
    place = read_place(path)
    if place.type not in (None, _solver_type(model)):
        raise ValueError(
            f"{path} is of the solver type {place.type}, whose history is no "
            f"{_solver_type(model)}'s: resume with that type, or begin anew with its "
            "weights, --weights"
        )
    model.optimizer.build(model.trainable_variables)
    for variable, state in zip(_random_states(model), place.random, strict=False):
        variable.assign(state)
    if zipfile.is_zipfile(path):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Skipping variable loading")
            try:
                model.load_weights(path)
            except (UserWarning, ValueError) as error:
                raise ValueError(
                    f"{path} is of another net or optimizer: {error}"
                ) from None
        return
    load_caffe_weights(model, path)
    with h5py.File(path) as file:
        _restore_history(model, file[_GROUP], path)


def _restore_history(model, group, path):
    """The histories of Caffe's solver, by slot, layer and weight."""
    optimizer = model.optimizer
    if len(group) != len(optimizer.histories):
        raise ValueError(f"{path} was written by another solver type")
    names = _owners(model)
    for slot, history in enumerate(optimizer.histories):
        for variable, target in zip(model.trainable_variables, history, strict=True):
            layer, weight = names[id(variable)]
            values = np.asarray(group[f"{slot}/{layer}/{weight}"])
            if values.shape != tuple(target.shape):
                raise ValueError(
                    f"{path}: the history of {layer!r} has the shape {values.shape}, "
                    f"the weight {tuple(target.shape)}"
                )
            target.assign(values)
    optimizer.resume_at(json.loads(group.attrs["place"])["iteration"])


def _solver_type(model):
    """Caffe's name of the optimizer."""
    return type(model.optimizer).__name__.removeprefix("Caffe")


def _random_states(model):
    return [v for v in model.variables if v.name == "seed_generator_state"]


def _draw_from_own_states(model):
    """Lets each layer draw from its own random state, which a snapshot holds.

    On torch, Keras's Dropout without a seed would draw from torch's own generator, as
    the reading of data does at the start of each epoch.
    """
    for layer in model._flatten_layers():
        generator = getattr(layer, "seed_generator", None)
        if generator is not None and generator._initial_seed is None:
            generator._initial_seed = int(ops.convert_to_numpy(generator.state)[0])


def _owners(model):
    return {
        id(variable): (layer.name, variable.name)
        for layer in model.layers
        for variable in layer.trainable_variables
    }


class Snapshot(IterationCallback):
    """Saves the training to `<prefix>_iter_<iteration>.keras` (Solver::Snapshot).

    That happens every `every` iterations (0: never), with `after_train` at the end, and
    on SIGHUP. The file appears whole or not at all; folders in `prefix` are made.
    `streams` are the Streams of the training data and of each test net's, `seed` is what
    they draw from, `policy` a callback that is the learning rate policy.
    """

    def __init__(
        self,
        prefix,
        streams=(),
        seed=None,
        every=0,
        after_train=True,
        policy=None,
        log=None,
    ):
        super().__init__()
        self.prefix = prefix
        self.every = every
        self.after_train = after_train
        self.streams = streams
        self.seed = seed
        self.policy = policy
        self.log = log or TrainingLog()
        self._saved = self._former = None
        self._asked = False

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        _draw_from_own_states(self.model)
        self._check_folder()
        self._saved = self.iteration
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and hasattr(signal, "SIGHUP"):
            self._former = signal.signal(signal.SIGHUP, self._ask)

    def _check_folder(self):
        """Raises OSError before training, not at its end, where no file can be made.

        (Solver::CheckSnapshotWritePermissions)
        """
        folder = os.path.dirname(self.prefix) or "."
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()

    def _ask(self, number, frame):
        self._asked = True

    def on_iteration_end(self, iteration, logs):
        due = self.every and iteration % self.every == 0
        last = self.after_train and self.model.stop_training
        if due or last or self._asked:
            self._asked, self._saved = False, iteration
            self._save(iteration)

    def on_train_end(self, logs=None):
        if self.after_train and self._saved != self.iteration:
            self._save(self.iteration)
        if self._former is not None:
            signal.signal(signal.SIGHUP, self._former)

    def _save(self, iteration):
        path = f"{self.prefix}_iter_{iteration}.keras"
        partial = f"{path}.partial.keras"
        self.log.line(f"Snapshotting to {path}", "solver.cpp:464")
        self._sync()
        states = map(ops.convert_to_numpy, _random_states(self.model))
        place = Place(
            iteration,
            [stream.used for stream in self.streams],
            self.seed,
            [state.tolist() for state in states],
            self.policy.state() if self.policy is not None else {},
            _solver_type(self.model),
        )
        try:
            self.model.save(partial)
            with zipfile.ZipFile(partial, "a") as archive:
                archive.writestr(_MEMBER, json.dumps(dataclasses.asdict(place)))
            os.replace(partial, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(partial)
