"""`caffe2k time`: what `caffe time` does, in Keras."""

from __future__ import annotations

from pathlib import Path

from caffe2k.cli.running import caffe_command, run_caffe


@caffe_command("time")
def time(
    output: Path | None,
    force: bool,
    arguments: tuple[str, ...],
    **flags: str | None,
) -> None:
    """Times a net as `caffe time` does.

    Each layer forward, the whole also backward.

    \b
    Example:
      caffe2k time --model=deploy.prototxt --phase=TEST --iterations=10

    What stands behind `--` goes to the benchmark.py that is made and run.
    """
    run_caffe("time", flags, "benchmark.py", output, force, arguments)
