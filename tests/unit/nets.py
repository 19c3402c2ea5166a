"""Short ways to nets for tests of passes."""

from __future__ import annotations

from pathlib import Path

from caffe2k.codegen.formatting import format_python
from caffe2k.codegen.model_script import model_script
from caffe2k.diagnostics import Diagnostics, SourceFile
from caffe2k.ir.net import Net, Phase
from caffe2k.pipeline import Options, TranslatedNet, analyse, translate_net
from caffe2k.prototxt import read_net, upgrade
from caffe2k.schema.message import Message


def message(text: str) -> Message:
    diagnostics = Diagnostics()
    net = upgrade(read_net(SourceFile("net.prototxt", text), diagnostics), diagnostics)
    diagnostics.raise_if_errors()
    return net


def layer(name: str, kind: str, bottom: str = "", top: str = "", more: str = "") -> str:
    """A layer in one line; bottoms and tops are separated by blanks."""
    bottoms = " ".join(f'bottom: "{b}"' for b in bottom.split())
    tops = " ".join(f'top: "{t}"' for t in (top or name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} {tops} {more} }}\n'


def entry(name: str, *dims: int) -> str:
    """An Input layer."""
    shape = " ".join(f"dim: {d}" for d in dims)
    return layer(name, "Input", more=f"input_param {{ shape {{ {shape} }} }}")


def convolution(name: str, bottom: str, more: str = "") -> str:
    param = "convolution_param { num_output: 4 kernel_size: 3 }"
    return layer(name, "Convolution", bottom, more=f"{param} {more}")


def dense(name: str, bottom: str, outputs: int = 5, more: str = "") -> str:
    param = f"inner_product_param {{ num_output: {outputs} }}"
    return layer(name, "InnerProduct", bottom, more=f"{param} {more}")


def phases(text: str, diagnostics: Diagnostics, **options: object) -> dict[Phase, Net]:
    """The nets of the phases, with shapes."""
    chosen = Options(**options)  # type: ignore[arg-type]
    return analyse(message(text), Path(), chosen, diagnostics)


def translated(
    text: str, diagnostics: Diagnostics | None = None, **options: object
) -> TranslatedNet:
    """A net as Keras calls."""
    chosen = Options(**options)  # type: ignore[arg-type]
    found = Diagnostics() if diagnostics is None else diagnostics
    net = translate_net(message(text), Path(), chosen, found)
    found.raise_if_errors()
    return net


def body(text: str, **options: object) -> list[str]:
    """The statements of build_model."""
    whole = translated(text, **options).whole
    script = format_python(model_script(whole.program, "net.prototxt"))
    _, _, function = script.partition("def build_model():\n")
    lines = function.partition("\n\n")[0].splitlines()
    return [line.strip() for line in lines[1:]]


def found(diagnostics: Diagnostics) -> list[tuple[str, str]]:
    return [(d.code, d.message) for d in diagnostics]
