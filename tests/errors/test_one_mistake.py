"""One mistake in a real net is one error: nothing follows from it, and nothing breaks."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from caffe2k.diagnostics import Severity, TranslationError
from caffe2k.prototxt.scan import scan
from caffe2k.translation import translate

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RUBBISH = ["", "}", "{", "[", ":", "@", "0x", "-", '"', "abc", "1.5", "9" * 11, "# "]


@pytest.fixture(scope="module", params=["digits_lenet", "siamese_digits"])
def sample(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of a sample project, in which a net with mistakes is written."""
    folder = tmp_path_factory.mktemp("samples") / request.param
    shutil.copytree(SAMPLES / request.param, folder)
    return folder


def errors(folder: Path, text: str) -> list[str]:
    """The errors that a net gives which lies beside its data."""
    net = folder / "mistaken.prototxt"
    net.write_text(text, encoding="utf-8")
    try:
        translate(net)
    except TranslationError as e:
        return [d.render() for d in e.diagnostics if d.severity is Severity.ERROR]
    return []


def test_a_misspelt_word_is_one_error(sample: Path) -> None:
    text = (sample / "train_val.prototxt").read_text(encoding="utf-8")
    tokens, _ = scan(text)
    words = [t for t in tokens if t.type in ("NAME", "STRING") and len(t) > 5]
    for word in words[:: len(words) // 60]:
        misspelt = f"{word[:2]}{word[3]}{word[2]}{word[4:]}"
        at = word.start_pos or 0
        found = errors(sample, text[:at] + misspelt + text[at + len(word) :])
        is_data = "is not there" in "".join(found) or "no array" in "".join(found)
        assert len(found) <= 1 + is_data, (misspelt, found)


def test_no_mistake_breaks_the_translation(sample: Path) -> None:
    text = (sample / "train_val.prototxt").read_text(encoding="utf-8")
    tokens, _ = scan(text)
    choose = random.Random(0)
    for _ in range(100):
        token = choose.choice(tokens)
        at = token.start_pos or 0
        mistaken = text[:at] + choose.choice(RUBBISH) + text[at + len(token) :]
        for rendered in errors(sample, mistaken):
            assert rendered.startswith("error[")
            assert " = help: " in rendered, rendered
