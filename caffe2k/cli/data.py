"""`caffe2k data`: looks into data sets, averages and converts them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffe2k.cli.arguments import FILE
from caffe2k.cli.columns import echo_columns, shape_text
from caffe2k.cli.report import FAILED, diagnosed, number, show
from caffe2k.diagnostics import Diagnostic, Severity, printable

if TYPE_CHECKING:
    from caffe2k.datasets.conversion import Conversion, Outcome
    from caffe2k.datasets.inspection import Summary
    from caffe2k.datasets.source import Source

_ROOT = click.option(
    "--root",
    metavar="FOLDER",
    help="What the names in a list of images follow. Default: the folder of the list, or "
    "the working directory.",
)

_MOST_LABELS = 40
_MOST_SHAPES = 20


@click.group()
def data() -> None:
    """Looks into data sets, averages and converts them.

    SOURCE is the folder of an LMDB or LevelDB, a list of images, an HDF5 file or a list
    of such, or a folder of TFRecord shards; which of them is found out.
    """


@data.command()
@click.argument("source", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--contact-sheet", type=FILE, metavar="FILE.png", help="Draw the first images."
)
@click.option("--force", is_flag=True, help="Replace a contact sheet that exists.")
@_ROOT
def inspect(
    source: Path,
    as_json: bool,
    contact_sheet: Path | None,
    force: bool,
    root: str | None,
) -> None:
    """Counts records, shapes and labels, and finds bad records.

    \b
    Examples:
      caffe2k data inspect cifar10_train_lmdb
      caffe2k data inspect cifar10_train_lmdb --contact-sheet first.png
      caffe2k data inspect cifar10_train_lmdb --json
    """
    if force and contact_sheet is None:
        raise click.UsageError("--force is about --contact-sheet, which is not given.")
    with diagnosed():
        from caffe2k.datasets.contact_sheet import ContactSheet
        from caffe2k.datasets.image_list import ImageList
        from caffe2k.datasets.inspection import SHOWN_FAULTS
        from caffe2k.datasets.inspection import inspect as run
        from caffe2k.datasets.opening import open_source

        sheet = None
        if contact_sheet is not None:
            sheet = ContactSheet(contact_sheet, force=force)
        opened = _read_as_told(open_source(source), {"root": root})
        if isinstance(opened, ImageList):
            # What the files are, and not what convert would make of them.
            opened = opened.with_settings(replace(opened.settings, encoded=True))
        _warn_without_opencv()
        with _counting(source.name) as advance:
            summary = run(opened, advance, None if sheet is None else sheet.add)
        if sheet is not None:
            sheet.write()
    if as_json:
        click.echo(json.dumps(summary.as_json(), indent=2))
    else:
        _print(summary)
    if summary.faults:
        show(tuple(d for fault in summary.faults for d in fault.diagnostics))
        if summary.bad > SHOWN_FAULTS:
            click.echo(
                f"\n{number(summary.bad, 'bad record')}, the first shown", err=True
            )
        sys.exit(FAILED)


@data.command()
@click.argument("source", type=FILE)
@click.option("-o", "--output", type=FILE, help="A .binaryproto or .npy to write.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@_ROOT
def mean(source: Path, output: Path | None, force: bool, root: str | None) -> None:
    """Computes the mean image, as compute_image_mean does.

    \b
    Examples:
      caffe2k data mean train_lmdb -o mean.binaryproto
      caffe2k data mean train_lmdb -o mean.npy
    """
    if force and output is None:
        raise click.UsageError("--force is about -o, which is not given.")
    with diagnosed():
        from caffe2k.datasets.mean import mean_image
        from caffe2k.datasets.opening import open_source

        opened = _read_as_told(open_source(source), {"root": root})
        _warn_without_opencv()
        with _counting(source.name) as advance:
            found = mean_image(opened, advance)
        if output is not None:
            found.write(output, force=force)
    click.echo(f"Number of channels: {len(found.image)}")
    for channel, value in enumerate(found.channel_values):
        click.echo(f"mean_value channel [{channel}]: {value:g}")


def _image_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of convert_imageset, which are about lists of images."""
    side = click.IntRange(1)
    for option in (
        click.option(
            "--encode-type", metavar="TYPE", help="png, jpg, ...: and encode."
        ),
        click.option("--encoded", is_flag=True, help="Store files, not raw values."),
        click.option("--seed", type=int, help="Of --shuffle.  [default: 0]"),
        click.option("--shuffle", is_flag=True, help="Bring the list out of order."),
        click.option("--gray", is_flag=True, help="Read images with one channel."),
        click.option("--resize-width", type=side, help="With the height."),
        click.option("--resize-height", type=side, help="With the width."),
        _ROOT,
    ):
        command = option(command)
    return command


@data.command()
@click.argument("source", type=FILE)
@click.argument("output", type=FILE)
@click.option(
    "--to",
    type=click.Choice(["lmdb", "leveldb", "images", "hdf5", "tfrecord"]),
    required=True,
    help="What to write.",
)
@click.option(
    "--shards", type=click.IntRange(1, 128), help="TFRecord files.  [default: 1]"
)
@click.option("--decode", is_flag=True, help="Make encoded images raw.")
@click.option("--check-size", is_flag=True, help="Refuse images of different shapes.")
@click.option("--skip-bad", is_flag=True, help="Leave out what can't be read.")
@click.option("--restart", is_flag=True, help="Forget what a stopped run has done.")
@_image_options
def convert(
    source: Path,
    output: Path,
    to: str,
    shards: int | None,
    decode: bool,
    check_size: bool,
    skip_bad: bool,
    restart: bool,
    **image_options: Any,
) -> None:
    """Writes a data set in another form, as the new folder OUTPUT.

    The records stay what they are: LMDB to any form and back gives equal Datums. A list
    of images is read as Caffe's convert_imageset does. A run that was stopped goes on
    where it was when it is given again.

    \b
    Examples:
      caffe2k data convert train_lmdb train_tfrecord --to tfrecord --shards 8
      caffe2k data convert train.txt train_lmdb --to lmdb --root images/ \\
        --resize-height 256 --resize-width 256 --shuffle
    """
    if shards is not None and to != "tfrecord":
        raise click.UsageError("--shards is about --to tfrecord.")
    with diagnosed():
        from caffe2k.datasets.conversion import Conversion
        from caffe2k.datasets.opening import open_source

        opened = _read_as_told(open_source(source), image_options)
        conversion = Conversion(
            opened, output, to, shards or 1, decode, check_size, skip_bad
        )
        if restart:
            conversion.give_up()
        before = conversion.done_before()
        if before:
            click.echo(f"{output}: going on behind record {before}", err=True)
        _warn_without_opencv()
        with _counting(source.name) as advance:
            outcome = _converted(conversion, advance)
    if outcome.skipped:
        show(tuple(d for fault in outcome.faults for d in fault.diagnostics))
        left_out = number(outcome.skipped, "bad record")
        click.echo(f"\n{left_out} left out", err=True)
    click.echo(f"{output}: {outcome.written} records")


def _converted(
    conversion: Conversion, advance: Callable[[int, int | None], None]
) -> Outcome:
    """Runs a conversion, and says what is left where a bad record ends it."""
    from caffe2k.datasets.errors import BadRecord

    try:
        return conversion.run(advance)
    except BadRecord:
        if conversion.unfinished.exists():
            click.echo(
                f"{conversion.unfinished}: kept; with --skip-bad, the same command "
                "goes on from there\n",
                err=True,
            )
        raise


def _read_as_told(source: Source, options: dict[str, Any]) -> Source:
    """The source, read with those options of convert_imageset that are given."""
    from caffe2k.datasets.image_list import ImageList, ImageSettings

    given = {n: v for n, v in options.items() if v is not None and v is not False}
    if not given:
        return source
    if not isinstance(source, ImageList):
        flag = next(iter(given)).replace("_", "-")
        raise click.UsageError(
            f"--{flag} is about lists of images, and SOURCE is of the kind "
            f"{source.backend}."
        )
    if ("resize_height" in given) != ("resize_width" in given):
        raise click.UsageError("--resize-height and --resize-width go together.")
    if "seed" in given and "shuffle" not in given:
        raise click.UsageError("--seed is about --shuffle, which is not given.")
    return source.with_settings(ImageSettings(**given))


@contextmanager
def _counting(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar over records, on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True, markup=False)
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(printable(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _warn_without_opencv() -> None:
    from caffe2k.datasets.images import opencv

    if opencv() is None:
        warning = Diagnostic(
            Severity.WARNING,
            "without-opencv",
            "Pillow decodes encoded images, since OpenCV is not installed: "
            "their values can differ from Caffe's by a few",
            help="pip install opencv-python-headless",
        )
        show((warning,))


def _print(summary: Summary) -> None:
    """The summary as tables on standard output."""
    rows = [
        ("backend", summary.backend),
        ("records", f"{summary.records}"),
        ("bytes", f"{summary.record_bytes} in records, {summary.disk_bytes} on disk"),
    ]
    if summary.bad:
        rows.append(("bad", f"{summary.bad}"))
    rows += [("array", array) for array in summary.arrays]
    echo_columns(("source", printable(summary.source)), rows, numbers=0)
    shapes = [(shape_text(s), count) for s, count in summary.shapes.most_common()]
    _print_counts("shape", shapes, _MOST_SHAPES)
    _print_counts("encoding", summary.encodings.most_common(), _MOST_SHAPES)
    labels = [(str(label), count) for label, count in sorted(summary.labels.items())]
    _print_counts("label", labels, _MOST_LABELS)


def _print_counts(title: str, counts: Sequence[tuple[str, int]], most: int) -> None:
    if not counts:
        return
    rows = [(name, f"{count}") for name, count in counts[:most]]
    if len(counts) > most:
        rest = sum(count for _, count in counts[most:])
        rows.append((f"{len(counts) - most} more", f"{rest}"))
    click.echo()
    echo_columns((title, "records"), rows, numbers=1)
