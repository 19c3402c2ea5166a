"""Public nets have the shapes that Caffe gave them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from caffe2k.codegen.program import Tensor
from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Phase
from caffe2k.pipeline import Options
from caffe2k.prototxt import read, upgrade
from caffe2k.translation import Translation, translate
from tests.conformance.emitted import imported
from tests.corpus.shapes import CORPUS, Recorded, differences, our_net, recorded

RECORDS = list(recorded())
pytestmark = pytest.mark.skipif(
    not RECORDS, reason="the corpus of public nets is not here; it isn't ours to ship"
)

BVLC = CORPUS / "files" / "BVLC+caffe"
TRAINED = ("bvlc_alexnet", "bvlc_reference_caffenet", "bvlc_googlenet")


def _accepted() -> list[str]:
    listing = CORPUS / "index.csv"
    if not listing.exists():
        return []
    with listing.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [row["file"] for row in rows if row["bvlc_parses"] == "yes"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.id)
def test_shapes(record: Recorded) -> None:
    net, diagnostics = our_net(record)
    errors = [d for d in diagnostics if d.severity.value == "error"]
    if errors and all(d.code == "unsupported-layer" for d in errors):
        pytest.xfail(errors[0].message)
    assert not errors
    assert differences(net, record) == []


@pytest.mark.parametrize("file", _accepted())
def test_what_caffe_reads_is_read(file: str) -> None:
    diagnostics = Diagnostics()
    upgrade(read(CORPUS / file, diagnostics), diagnostics)
    assert [d.render() for d in diagnostics if d.severity.value == "error"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_trained_nets_build(name: str, tmp_path: Path) -> None:
    file = f"files/BVLC+caffe/models__{name}__train_val.prototxt"
    records = [r for r in RECORDS if r.file == file]
    assert {r.phase for r in records} == set(Phase)
    translation = translate(
        CORPUS / file,
        solver=BVLC / f"models__{name}__solver.prototxt",
        options=Options(input_shapes={}),
    )
    translation.write(tmp_path / "out")
    with imported(tmp_path / "out", "train") as train:
        assert train.MAX_ITER > 0
    with imported(tmp_path / "out", "model") as module:
        model = module.build_model()
    caffe = {name: shape for r in records for name, shape in r.blobs.items()}
    found = _keras_shapes(translation, model)
    sources = {blob.name for blob in translation.net.whole.sources}
    computed = {
        blob: shape[1:]
        for blob, shape in caffe.items()
        if shape and blob not in sources and "_split_" not in blob
    }
    assert {blob: shape[1:] for blob, shape in found.items()} == computed


def _keras_shapes(translation: Translation, model: object) -> dict[str, tuple]:
    """The shapes of the built model's tensors by blob, in Caffe's axis order."""
    whole = translation.net.whole
    made: dict[Tensor, tuple] = {}
    for step in whole.program.steps:
        if step.layer.name is not None and len(step.outputs) == 1:
            shape = model.get_layer(step.layer.name).output.shape  # type: ignore[attr-defined]
            made[step.outputs[0]] = tuple(shape)
    found = {}
    for blob, tensor in whole.tensors.items():
        layout = whole.layouts[blob]
        if tensor in made and not layout.order:
            shape = made[tensor]
            found[blob.name] = tuple(
                shape[layout.perm.index(a)] for a in range(layout.rank)
            )
    return found
