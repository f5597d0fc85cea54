"""The guided tour holds what it says, and leaves nothing behind however it ends."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest

from tests.support.processes import Processes, wait_until


def programs_of(folder: Path) -> list[int]:
    """The processes whose environment names `folder`, as those of a tour do."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
            if str(folder).encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


@pytest.mark.timeout(120)
def test_every_step_of_the_tour_holds(processes: Processes, tmp_path: Path) -> None:
    folder = tmp_path / "tour"
    folder.mkdir()
    tour = processes.megabot("demo", env={"TMPDIR": str(folder)})
    assert tour.wait(90) == 0
    assert "All of it held" in tour.output
    assert [line for line in tour.output.splitlines() if line.startswith("9. ")]
    assert list(folder.iterdir()) == []
    wait_until(lambda: not programs_of(folder), "all programs of the tour are gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.timeout(120)
def test_a_tour_cut_short_leaves_nothing(
    processes: Processes, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "tour"
    folder.mkdir()
    tour = processes.megabot("demo", env={"TMPDIR": str(folder)})
    tour.wait_for_line("4. ", limit_s=60)
    tour.signal(number)
    assert tour.wait(30) == 128 + number
    assert list(folder.iterdir()) == []
    wait_until(lambda: not programs_of(folder), "all programs of the tour are gone")
