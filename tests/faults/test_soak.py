"""A short soak in each run of the suite; `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import soak
from tests.support.processes import Processes


@pytest.mark.timeout(180)
async def test_ten_seconds_of_random_faults_break_no_promise(
    processes: Processes, tmp_path: Path
) -> None:
    report = await soak(processes, tmp_path, seconds=10, seed=11, faults=3)
    assert report["ended"]["reply"] > 50
    assert sum(report["faults"].values()) >= 3
