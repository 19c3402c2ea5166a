"""Writes a data set in another form; goes on where it was stopped."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from caffe2k import __version__
from caffe2k.datasets.errors import BadRecord, DatasetError, empty, exists, unwritable
from caffe2k.datasets.records import Record
from caffe2k.datasets.source import OnProgress, Place, Source
from caffe2k.datasets.writer import State, Writer


@dataclass
class Outcome:
    """How many records were written, and which were left out, the first of them."""

    written: int = 0
    skipped: int = 0
    faults: list[BadRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Conversion:
    """From a source to a new folder `output`.

    `to` is lmdb, leveldb, images, hdf5 or tfrecord; `shards` is the number of TFRecord
    files. `decode` makes encoded images raw. `check_size` refuses images that differ in
    shape from the first. `skip_bad` leaves out records that are bad, or that the output
    can't hold.
    """

    source: Source
    output: Path
    to: str
    shards: int = 1
    decode: bool = False
    check_size: bool = False
    skip_bad: bool = False

    @property
    def unfinished(self) -> Path:
        """The folder that is filled, and then takes the name of the output."""
        return self.output.with_name(f".{self.output.name}.partial")

    @property
    def _state_file(self) -> Path:
        return self.output.with_name(f".{self.output.name}.partial.json")

    def done_before(self) -> int:
        """How many records an earlier run, which was stopped, has read.

        Raises DatasetError where the output exists, or that run did something else.
        """
        self._require_new()
        state = self._load_state()
        read: int = 0 if state is None else state["place"][0]
        return read

    def run(self, on_progress: OnProgress | None = None) -> Outcome:
        """Converts all records. The output appears whole or not at all.

        Raises DatasetError; what was done until then stays for the next run, if any
        checkpoint was reached.
        """
        self._require_new()
        state = self._load_state()
        try:
            if state is None:
                self.give_up()
            self.unfinished.mkdir(parents=True, exist_ok=True)
            with self._locked():
                try:
                    return self._fill(state, on_progress)
                finally:
                    if not self._state_file.exists():
                        shutil.rmtree(self.unfinished, ignore_errors=True)
        except OSError as e:
            raise unwritable(str(self.output), e) from None

    def give_up(self) -> None:
        """Removes what a run that was stopped has left; raises DatasetError."""
        self._require_new()
        if self.unfinished.exists():
            with self._locked():
                shutil.rmtree(self.unfinished)
        self._state_file.unlink(missing_ok=True)

    def _require_new(self) -> None:
        if self.output.exists():
            raise exists(str(self.output), "choose another name, or remove it")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other processes out of the folder, where the system has such locks."""
        if sys.platform == "win32":
            yield
            return
        import fcntl

        folder = os.open(self.unfinished, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(folder)
            raise DatasetError(
                "conversion-running",
                f"another process is writing `{self.output}`",
                help="wait until it has ended",
            ) from None
        try:
            yield
        finally:
            os.close(folder)

    def _fill(self, state: State | None, on_progress: OnProgress | None) -> Outcome:
        writer = self._writer(None if state is None else state["writer"])
        try:
            outcome = self._copy(writer, state, on_progress)
        finally:
            writer.close()
        if sys.platform != "win32":
            os.sync()
        os.rename(self.unfinished, self.output)
        self._state_file.unlink()
        return outcome

    def _copy(
        self, writer: Writer, state: State | None, on_progress: OnProgress | None
    ) -> Outcome:
        place, outcome = None, Outcome()
        if state is not None:
            read, key = state["place"]
            place = Place(read, bytes.fromhex(key))
            outcome = Outcome(state["written"], state["skipped"])
        convert = self._prepared()
        total = self.source.count
        first = 1 if place is None else place.read + 1
        for number, record in enumerate(self.source.records(place), first):
            try:
                writer.write(convert(record))
                outcome.written += 1
            except BadRecord as error:
                if not self.skip_bad:
                    raise
                outcome.skipped += 1
                outcome.faults = [*outcome.faults, error][:10]
            place = Place(number, record.key)
            if writer.due:
                self._save(place, outcome, writer.checkpoint())
            if on_progress is not None:
                on_progress(number, total)
        if place is None or not outcome.written:
            raise empty(self.source.name)
        self._save(place, outcome, writer.checkpoint())
        return outcome

    def _prepared(self) -> Callable[[Record], Record]:
        """What happens to each record on its way."""
        shape: tuple[int, ...] | None = None

        def prepare(record: Record) -> Record:
            nonlocal shape
            if self.decode:
                record = record.decoded()
            if self.check_size:
                own = record.values().shape
                if shape is not None and own != shape:
                    raise record.bad(f"its shape is {own}, that of the first {shape}")
                shape = own
            return record

        return prepare

    def _writer(self, state: State | None) -> Writer:
        folder = self.unfinished
        if self.to == "images":
            from caffe2k.datasets.image_folder import ImageFolderWriter

            return ImageFolderWriter(folder, state)
        if self.to == "hdf5":
            from caffe2k.datasets.hdf5 import HDF5Writer

            return HDF5Writer(folder, state, self.output.as_posix())
        if self.to == "tfrecord":
            from caffe2k.datasets.tfrecords import TFRecordWriter

            return TFRecordWriter(folder, state, self.shards)
        from caffe2k.datasets.databases import LevelDBWriter, LMDBWriter

        return (LMDBWriter if self.to == "lmdb" else LevelDBWriter)(folder, state)

    @cached_property
    def _job(self) -> dict[str, Any]:
        """What a run must have in common with the one that it goes on from."""
        files = [(p, p.stat()) for p in self.source.files()]
        return {
            "version": __version__,
            "source": self.source.description,
            "files": [[str(p.absolute()), s.st_size, s.st_mtime_ns] for p, s in files],
            "to": [self.to, self.shards, self.decode, self.check_size],
        }

    def _save(self, place: Place, outcome: Outcome, writer: State) -> None:
        state = {
            "job": self._job,
            "place": [place.read, place.key.hex()],
            "written": outcome.written,
            "skipped": outcome.skipped,
            "writer": writer,
        }
        temporary = self._state_file.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._state_file)

    def _load_state(self) -> State | None:
        """What the last run left; None where there is nothing to go on from.

        Raises DatasetError where it was another conversion.
        """
        if not (self._state_file.exists() and self.unfinished.exists()):
            return None
        try:
            state: State = json.loads(self._state_file.read_text(encoding="utf-8"))
            same = state["job"] == self._job
        except (ValueError, KeyError):
            return None
        if not same:
            raise DatasetError(
                "other-conversion",
                f"`{self.unfinished}` is left of another conversion to this name, or "
                "of a source that has changed",
                help="begin anew with --restart",
            )
        return state
