"""The defaults that a command line of Caffe gives to the flags of an emitted script."""

from __future__ import annotations

from dataclasses import dataclass

from caffe2k.codegen.literals import literal


@dataclass(frozen=True)
class FlagDefaults:
    """What a command line of Caffe makes the defaults of a script's flags.

    `weights` and `snapshot` name files beside the script; `source` is where that stands.
    """

    source: str = ""
    weights: tuple[str, ...] = ()
    snapshot: str = ""
    gpus: str = ""
    iterations: int | None = None

    @property
    def has_files(self) -> bool:
        return bool(self.weights or self.snapshot)

    @property
    def start(self) -> str:
        """What a training starts from that is given no flag."""
        if self.snapshot:
            return f"the snapshot {self.snapshot}"
        return (
            f"the weights {', '.join(self.weights)}"
            if self.weights
            else "the initial weights"
        )

    @property
    def arguments(self) -> list[str]:
        """The arguments of set_defaults(), in a script that imports Path."""
        files = [_beside(name) for name in self.weights]
        values = {
            "weights": f"[{', '.join(files)}]" if files else "",
            "resume": _beside(self.snapshot) if self.snapshot else "",
            "gpus": literal(self.gpus) if self.gpus else "",
        }
        return [f"{flag}={value}" for flag, value in values.items() if value]


NO_DEFAULTS = FlagDefaults()


def _beside(name: str) -> str:
    """The path of a file beside the script, from wherever it is run."""
    return f"Path(__file__).with_name({literal(name)})"
