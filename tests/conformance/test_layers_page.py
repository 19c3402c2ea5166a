"""What docs/layers.md says of a layer type's settings, and the nets that it is read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Phase
from caffe2k.pipeline import Options, translate_net
from caffe2k.prototxt import read_net, upgrade
from tests.conformance.examples import EXAMPLES
from tests.conformance.options import settings_of
from tests.conformance.suite import OWN
from tests.unit.nets import entry, layer


@pytest.mark.parametrize("kind", EXAMPLES)
def test_examples_are_translated(kind: str, tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(EXAMPLES[kind])
    diagnostics = Diagnostics()
    message = upgrade(read_net(net, diagnostics), diagnostics)
    translated = translate_net(message, tmp_path, Options(Phase.TRAIN), diagnostics)
    assert [d.message for d in diagnostics if d.severity.value == "error"] == []
    assert kind in [found.type for found in translated.net.layers]


def test_what_is_translated_and_what_is_not(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    concat = layer("op", "Concat", "x y", "out", "concat_param { axis: 1 }")
    net.write_text(entry("x", 2, 3) + entry("y", 2, 3) + concat)
    (found,) = settings_of(net, "Concat", {"concat_param", "slice_param"})
    assert found.message == "concat_param"
    assert {"axis", "concat_dim"} <= set(found.translated)
    assert "per_fla_fuse" in found.unsupported


def test_the_page_has_every_type() -> None:
    from caffe2k.ops import registered_ops

    page = OWN.parents[1] / "docs" / "layers.md"
    rows = page.read_text(encoding="utf-8").splitlines()
    listed = {row.split("|")[1].strip() for row in rows if row.startswith("| ")}
    ours = {n for n, op in registered_ops().items() if "caffe2k.ops" in op.__module__}
    assert ours <= listed
