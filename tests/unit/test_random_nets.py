"""The shapes of random nets' blobs, worked out apart from the ops."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffe2k.translation import translate
from tests.fuzz.nets import shapes
from tests.fuzz.random_net import RandomNet


@pytest.mark.parametrize("seed", range(30))
def test_shapes_are_caffes(seed: int, tmp_path: Path) -> None:
    net = RandomNet(seed, 40)
    path = tmp_path / "net.prototxt"
    path.write_text(net.text)
    assert shapes(translate(path)) == net.shapes
