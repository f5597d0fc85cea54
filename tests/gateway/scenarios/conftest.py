"""Gateways that play a scenario."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House

Playing = Callable[..., Awaitable[House]]


@pytest.fixture
def playing(open_house: OpenHouse, tmp_path: Path) -> Playing:
    """Start a gateway that plays the text of a scenario, or a shipped one by name."""

    async def start(scenario: str) -> House:
        named = scenario
        if "\n" in scenario:
            path = tmp_path / "scenario.yaml"
            if not path.exists():  # a second gateway plays the same file, which must not change
                path.write_text(scenario)
            assert path.read_text() == scenario
            named = str(path)
        return await open_house(gateway={"scenario": named})

    return start
