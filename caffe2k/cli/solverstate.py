"""`caffe2k solverstate`: Caffe's snapshot for train.py to go on from."""

from __future__ import annotations

from pathlib import Path

import click

from caffe2k.cli.arguments import FILE, chosen_options, net_options
from caffe2k.cli.report import diagnosed, progress, show_coverage


@click.command()
@click.argument("state", type=FILE)
@click.option(
    "--solver", type=FILE, required=True, help="The solver that wrote the state."
)
@click.option("--net", type=FILE, help="The net, where the solver names none.")
@click.option(
    "--weights", type=FILE, help="The caffemodel, where the state's own is not there."
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    help="The .h5 file to write; by default called like the state.",
)
@net_options
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def solverstate(
    state: Path,
    solver: Path,
    net: Path | None,
    weights: Path | None,
    output: Path | None,
    phase: str | None,
    data_format: str,
    input_shapes: dict[str, tuple[int, ...]],
    force: bool,
) -> None:
    """Turns a .solverstate into one that train.py goes on from.

    Iteration, history and weights are Caffe's, and so is the place in the data.

    \b
    Example:
      caffe2k solverstate lenet_iter_200.solverstate --solver solver.prototxt
      python train.py --resume lenet_iter_200.h5
    """
    if phase is not None:
        raise click.UsageError("--phase: a solver has both phases")
    with diagnosed():
        from caffe2k.resuming import port_solverstate

        with progress(state.name) as advance:
            coverage = port_solverstate(
                state,
                solver,
                output or Path(f"{state.name.partition('.solverstate')[0]}.h5"),
                net=net,
                weights=weights,
                options=chosen_options(phase, data_format, input_shapes, strict=False),
                force=force,
                on_progress=advance,
            )
    show_coverage(coverage)
