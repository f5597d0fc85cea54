"""Upstreams here either answer at once or never, and this machine has no keyring."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megabot_cli.doctor.abilities.ANSWER_LIMIT_S", 0.3)


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's way to say: not importable. The tests of the keyring put theirs in its place."""
    monkeypatch.setitem(sys.modules, "keyring", None)
