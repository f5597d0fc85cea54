"""Real processes for every test of this room."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.rig import Rig, open_rig
from tests.support.processes import Processes, processes

__all__ = ["processes"]


@pytest.fixture
async def rig(processes: Processes, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(processes, tmp_path) as rig:
        yield rig
