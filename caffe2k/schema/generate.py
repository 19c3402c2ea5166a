"""Writes caffe_pb2 from grammars/caffe.proto, or checks that it is up to date.

Run as ``python -m caffe2k.schema.generate [--check]`` in a checkout, with the
version of grpcio-tools that the ``dev`` extra pins: another one writes other bytes.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SCHEMA = Path(__file__).parent
GRAMMARS = SCHEMA.parents[1] / "grammars"
OUTPUTS = ("caffe_pb2.py", "caffe_pb2.pyi")


def compile_proto() -> dict[str, bytes]:
    """Return the contents of each file in OUTPUTS as protoc writes it now.

    Raises subprocess.CalledProcessError where protoc is missing or refuses the
    schema; the reason is on stderr then.
    """
    # The virtual path makes protoc name the module as it is imported, so that
    # messages can be pickled and another package's caffe.proto is not in the way.
    package = "caffe2k/schema"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc"),
                f"--proto_path={package}={GRAMMARS}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                f"{package}/caffe.proto",
            ],
            check=True,
        )
        return {name: (Path(folder) / package / name).read_bytes() for name in OUTPUTS}


def stale_outputs() -> list[str]:
    """Return the names of those OUTPUTS that are missing or differ from protoc's."""
    return [
        name
        for name, content in compile_proto().items()
        if not (SCHEMA / name).is_file() or (SCHEMA / name).read_bytes() != content
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the generated files, or with --check compare them; return the status."""
    parser = argparse.ArgumentParser(prog="python -m caffe2k.schema.generate")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where stale"
    )
    if not parser.parse_args(argv).check:
        for name, content in compile_proto().items():
            (SCHEMA / name).write_bytes(content)
        return 0
    stale = stale_outputs()
    if stale:
        print(
            f"stale: {', '.join(stale)}; run python -m caffe2k.schema.generate",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
