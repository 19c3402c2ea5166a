"""What is read out of shell scripts that run Caffe."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2k.diagnostics import Diagnostics, SourceFile
from caffe2k.shell.script import ScriptRun, is_script, read_script


def read(text: str, **environment: str) -> tuple[ScriptRun | None, list[str]]:
    diagnostics = Diagnostics()
    found = read_script(SourceFile("run/train.sh", text), environment, diagnostics)
    return found, [d.code for d in diagnostics]


def flags(text: str, **environment: str) -> dict[str, str]:
    """The flags of the only run in a script that gives no diagnostic."""
    found, codes = read(text, **environment)
    assert codes == []
    assert found is not None
    return {name: value.text for name, value in found.run.flags.items()}


SOLVER = {"solver": "s.prototxt"}


@pytest.mark.parametrize(
    "text",
    [
        "caffe train --solver=s.prototxt",
        "caffe train --solver s.prototxt",
        "caffe train -solver=s.prototxt",
        "caffe train -solver s.prototxt",
        "caffe -solver s.prototxt train",
        "caffe train --solver=a.prototxt --solver=s.prototxt",
        "caffe train --solver='s.prototxt'",
        'caffe train --solver="s.prototxt"',
        "caffe train --solver=s\\.prototxt",
        "caffe train \\\n  --solver=s.\\\nprototxt",
        "caffe train --solver=s.prototxt # --gpu 0",
        "caffe train --solver=s.prototxt 2>&1 | tee log.txt",
        "caffe train --solver=s.prototxt >> log 2>> errors &",
        "caffe train --solver=s.prototxt &> log",
        'caffe train --solver=s.prototxt "$@"',
        "caffe train --solver=s.prototxt $*",
        "caffe train --solver=s.prototxt --logtostderr=1 -alsologtostderr -v 2",
        "GLOG_logtostderr=1 nohup ./build/tools/caffe train --solver=s.prototxt",
        "${CAFFE_ROOT}/build/tools/caffe.bin train --solver=s.prototxt",
        "$CAFFE_BIN train --solver=s.prototxt",
        "if true; then caffe train --solver=s.prototxt; fi",
        "(cd .; caffe train --solver=s.prototxt)",
        "mkdir -p snapshots && caffe train --solver=s.prototxt || exit 1",
        "cat <<EOF\ncaffe train --solver=x\nEOF\ncaffe train --solver=s.prototxt",
        "train_net s.prototxt",
        "$TOOLS/train_net.bin s.prototxt",
        "NET=s\ncaffe train --solver=$NET.prototxt",
        "NET='s'\ncaffe train --solver=\"${NET}.prototxt\"",
        "A=s B=.prototxt\nC=$A$B\ncaffe train --solver=$C",
        "export NET=s\ncaffe train --solver=$NET.prototxt",
        "OPTIONS='--solver s.prototxt'\ncaffe train $OPTIONS",
        "caffe train --solver=${1:-s.prototxt}",
    ],
)
def test_a_training(text: str) -> None:
    assert flags(text) == SOLVER


def test_all_flags() -> None:
    text = (
        "caffe train --solver=s --weights=a,b --gpu all --level=1 --stage=x,y "
        "--sigint_effect=none --sighup_effect=stop"
    )
    found, codes = read(text)
    assert found is not None
    assert codes == []
    assert found.run.names("weights") == ["a", "b"]
    assert found.run.names("stage") == ["x", "y"]
    assert (found.run.level, found.run.text("gpu")) == (1, "all")
    assert found.run.place == "train.sh:1"


@pytest.mark.parametrize(
    ("text", "action", "given"),
    [
        ("caffe test --model m --weights w", "test", {"model": "m", "weights": "w"}),
        ("caffe time -model m -phase TEST", "time", {"model": "m", "phase": "TEST"}),
        (
            "test_net.bin m w 10 GPU 1",
            "test",
            {"model": "m", "weights": "w", "iterations": "10", "gpu": "1"},
        ),
        (
            "test_net m w 10 CPU",
            "test",
            {"model": "m", "weights": "w", "iterations": "10"},
        ),
        ("net_speed_benchmark m 5", "time", {"model": "m", "iterations": "5"}),
        ("finetune_net s w GPU", "train", {"solver": "s", "weights": "w", "gpu": "0"}),
        ("train_net s state", "train", {"solver": "s", "snapshot": "state"}),
    ],
)
def test_other_actions_and_old_tools(
    text: str, action: str, given: dict[str, str]
) -> None:
    found, codes = read(text)
    assert found is not None
    assert codes == []
    assert found.run.action == action
    assert {name: value.text for name, value in found.run.flags.items()} == given


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("cd examples", "examples"),
        ("cd a; cd b", "a/b"),
        ("cd a\ncd /data", "/data"),
        ("cd $(dirname $0)", "."),
        ('cd "$(dirname "$0")/.."', ".."),
        ("cd `dirname $0`/..", ".."),
        ('HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"\ncd $HERE', ".."),
        ("ROOT=$(dirname $(dirname $(readlink -f $0)))\ncd $ROOT", ".."),
        ("cd $UNKNOWN", "."),
    ],
)
def test_working_directory(text: str, folder: str) -> None:
    found, _ = read(f"{text}\ncaffe train --solver=s")
    assert found is not None
    assert found.folder == folder


def test_the_environment_stands_in() -> None:
    assert flags("caffe train --solver=$NET", NET="s.prototxt") == SOLVER
    assert flags("NET=s.prototxt\ncaffe train --solver=$NET", NET="a") == SOLVER
    assert flags("caffe train --solver=${NET:-a}", NET="s.prototxt") == SOLVER


@pytest.mark.parametrize(
    "text",
    [
        "caffe train --solver=$NET",
        "caffe train --solver=$1",
        "caffe train --solver=${NET%.x}",
        "caffe train --solver=$(ls *.prototxt)",
        "for NET in a b; do caffe train --solver=$NET; done",
        "read NET; caffe train --solver=$NET",
        "if a; then NET=a; else NET=b; fi; caffe train --solver=$NET",
        "NET=a; while b; do NET=b; done; caffe train --solver=$NET",
        "NET=$(ls); caffe train --solver=$NET",
    ],
)
def test_a_value_that_reading_does_not_tell(text: str) -> None:
    assert read(text)[1] == ["shell-variable"]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("ls\necho caffe train --solver=a", ["script-without-caffe"]),
        ("caffe device_query -gpu 0", ["script-without-caffe"]),
        ("echo '", ["shell-syntax", "script-without-caffe"]),
        ("caffe train --solver=s $REST", ["shell-argument"]),
        ("caffe train --solver=s --gpu=0,x", ["caffe-flag-value"]),
        ("caffe test --model=m --weights=w --iterations=0", ["caffe-flag-value"]),
        ("caffe test --model=m --weights=w --phase=TEST", ["caffe-flag-unused"]),
        ("caffe test --model=m", ["caffe-flag-missing"]),
        ("caffe time", ["caffe-flag-missing"]),
        ("caffe time --model=m --phase=train", ["caffe-flag-value"]),
        ("caffe time --model=m --level=high", ["caffe-flag-value"]),
    ],
)
def test_what_is_said(text: str, codes: list[str]) -> None:
    assert sorted(read(text)[1]) == sorted(codes)


def test_the_first_training_is_taken() -> None:
    text = (
        "caffe test --model=m --weights=w\n"
        "caffe train --solver=a\ncaffe train --solver=b --gpux=1\n"
    )
    found, codes = read(text)
    assert found is not None
    assert found.run.text("solver") == "a"
    assert codes == ["other-caffe-run", "other-caffe-run"]


@given(st.text("caffetrin -=solver$(){}`'\"\\\n;|&<>#@1A"))
def test_any_text_is_read_to_its_end(text: str) -> None:
    read(f"{text}\ncaffe train --solver=s")


def test_what_is_a_script(tmp_path: Path) -> None:
    named, marked, other = (tmp_path / n for n in ("a.sh", "train", "s.prototxt"))
    marked.write_text("#!/bin/sh\n")
    other.write_text("# a comment\n")
    assert is_script(named)
    assert is_script(marked)
    assert not is_script(other)
    assert not is_script(tmp_path / "missing")
