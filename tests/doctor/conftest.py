"""Upstreams here either answer at once or never: nobody waits long for the latter."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megabot_cli.doctor.abilities.ANSWER_LIMIT_S", 0.3)
