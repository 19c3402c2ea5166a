"""`caffe2k test`: what `caffe test` does, in Keras."""

from __future__ import annotations

from pathlib import Path

from caffe2k.cli.running import caffe_command, run_caffe


@caffe_command("test")
def test(
    output: Path | None,
    force: bool,
    arguments: tuple[str, ...],
    **flags: str | None,
) -> None:
    """Scores a net as `caffe test` does.

    Prints its outputs of each batch, and their means.

    \b
    Example:
      caffe2k test --model=train_val.prototxt --weights=lenet.caffemodel --iterations=10

    What stands behind `--` goes to the evaluate.py that is made and run.
    """
    run_caffe("test", flags, "evaluate.py", output, force, arguments)
