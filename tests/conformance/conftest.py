"""Warnings that are Keras's own."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Keras 3.15 converts variables in a way that NumPy 2 will give up.
    config.addinivalue_line(
        "filterwarnings",
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",
    )
