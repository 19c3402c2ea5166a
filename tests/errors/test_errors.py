"""Every diagnostic in the words that its user reads."""

from __future__ import annotations

import re

import pytest

from tests.errors import cases
from tests.errors.binaries import BINARIES
from tests.errors.codes import all_codes

NAMES = cases.names()


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str) -> None:
    result, left = cases.run(name)
    assert result.stderr == cases.expected(name), (
        "`make golden`, and read the difference"
    )
    is_error = bool(re.search(r"^error\[", result.stderr, re.MULTILINE))
    assert result.exit_code == is_error
    if is_error:
        assert result.stdout == ""
        assert left == []


@pytest.mark.parametrize("name", [n for n in NAMES if n != cases.TEN_MISTAKES])
def test_case_shows_what_it_is_called_after(name: str) -> None:
    codes = shown(name)
    assert cases.expected(name).count(" = help: ") == len(codes)
    assert any(name == code or name.startswith(f"{code}-") for code in codes)


def test_every_code_has_a_case() -> None:
    seen = {code for name in NAMES for code in shown(name)}
    untested = {code: where for code, where in all_codes().items() if code not in seen}
    assert untested == {}


def test_no_case_has_lost_its_code() -> None:
    known = all_codes()
    assert {code for name in NAMES for code in shown(name)} <= known.keys()


def test_binaries_belong_to_cases() -> None:
    assert BINARIES.keys() <= set(NAMES)


def shown(name: str) -> list[str]:
    """The codes of the diagnostics that a case prints."""
    return re.findall(
        r"^(?:error|warning)\[([^]]*)\]", cases.expected(name), re.MULTILINE
    )
