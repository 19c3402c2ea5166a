"""The errors of this package: a data set that can't be read, or one record of it."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostic, Severity, TranslationError


class DatasetError(TranslationError):
    """A data set that can't be read or written."""

    def __init__(self, code: str, message: str, help: str | None = None) -> None:
        super().__init__([Diagnostic(Severity.ERROR, code, message, help=help)])


class BadRecord(TranslationError):
    """One record that can't be used; those behind it may be sound."""


class Fault(ValueError):
    """What is wrong with a record, said without its key."""


_WHAT_TO_NAME = (
    "name the folder of a database, a list of images or of HDF5 files, an .h5 file, or "
    "a folder of TFRecord shards"
)


def missing(path: str, named_in: str = "", help: str = _WHAT_TO_NAME) -> DatasetError:
    where = f", named in `{named_in}`," if named_in else ""
    return DatasetError("dataset-missing", f"`{path}`{where} is not there", help=help)


def unreadable(source: str, reason: str) -> DatasetError:
    return DatasetError(
        "dataset-unreadable",
        f"cannot read `{source}`: {reason}",
        help="copy it anew from where it is whole",
    )


def empty(source: str) -> DatasetError:
    return DatasetError(
        "dataset-empty",
        f"`{source}` holds no records",
        help="was the program that wrote it stopped?",
    )


def library_missing(module: str, purpose: str) -> DatasetError:
    return DatasetError(
        "library-missing",
        f"{purpose} needs the module {module}, which is not installed",
        help='pip install "caffe2k[data]"',
    )


def unwritable(path: str, error: OSError) -> DatasetError:
    return DatasetError(
        "output-unwritable",
        f"can't write `{path}`: {error.strerror or error}",
        help="its folder must exist, and be yours to write to",
    )


def exists(path: str, help: str) -> DatasetError:
    return DatasetError("output-exists", f"`{path}` exists", help=help)


def bad_record(source: str, key: str, reason: str) -> BadRecord:
    error = DatasetError(
        "bad-record",
        f"`{source}`, record `{key}`: {reason}",
        help="repair it, or leave it out with caffe2k data convert --skip-bad",
    )
    return BadRecord(error.diagnostics)
