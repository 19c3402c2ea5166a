"""`caffe2k train`: what `caffe train` does, in Keras."""

from __future__ import annotations

from pathlib import Path

from caffe2k.cli.running import caffe_command, run_caffe


@caffe_command("train")
def train(
    output: Path | None,
    force: bool,
    arguments: tuple[str, ...],
    **flags: str | None,
) -> None:
    """Trains as `caffe train` does.

    Translates a solver and its net, and runs train.py.

    \b
    Examples:
      caffe2k train --solver=solver.prototxt
      caffe2k train -solver solver.prototxt -weights lenet.caffemodel -gpu 0
      caffe2k train --solver=solver.prototxt -- --log caffe --tensorboard curves

    What stands behind `--` goes to train.py. Its folder is kept in the cache, and used
    again as long as the prototxts, the weights and caffe2k stay the same.
    """
    run_caffe("train", flags, "train.py", output, force, arguments)
