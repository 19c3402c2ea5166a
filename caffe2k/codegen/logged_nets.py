"""The nets that train.py compiles, tests and prints the outputs of."""

from __future__ import annotations

from dataclasses import dataclass

from caffe2k.codegen.program import Call, Program


def compile_arguments(program: Program, prefix: str = "") -> list[str]:
    """The arguments that model.py, or the module of `prefix`, has for compile()."""
    weighted = any(term.weight != 1 for term in program.losses)
    arguments = {
        "loss": "losses()" if program.losses else "",
        "loss_weights": "LOSS_WEIGHTS" if weighted else "",
        "metrics": "metrics()" if program.metrics else "",
    }
    return [f"{key}={prefix}{value}" for key, value in arguments.items() if value]


@dataclass(frozen=True)
class TestNet:
    """A net that train.py tests: the function of its data, and what its log prints.

    `module` is the script of a net with layers of its own, whose `program` this is then;
    "" for the trained net.
    """

    __test__ = False

    outputs: tuple[Call, ...]
    function: str = "test_data"
    module: str = ""
    program: Program | None = None

    @property
    def outputs_name(self) -> str:
        """The constant that holds `outputs`: TEST_OUTPUTS for test_data."""
        return f"{self.function.removesuffix('_data').upper()}_OUTPUTS"

    @property
    def model(self) -> str:
        """The variable of a net with layers of its own."""
        return self.function.removesuffix("_data")

    @property
    def compile_arguments(self) -> list[str]:
        """What compile() takes for a net with layers of its own."""
        return (
            compile_arguments(self.program, f"{self.module}.") if self.program else []
        )


@dataclass(frozen=True)
class LoggedNets:
    """What the log prints of the trained net, and the nets that are tested."""

    outputs: tuple[Call, ...] = ()
    tests: tuple[TestNet, ...] = (TestNet(()),)


ONE_TEST = LoggedNets()
"""A net that is trained and tested, of which nothing is known."""
