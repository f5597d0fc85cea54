"""The examples of the manual run as they stand, against a real gateway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator

EXAMPLES = Path(__file__).parent / "examples"
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("[!_]*.py"))
WANTED = {
    "ask.py": "You said “What is a relay?”",
    "stream.py": "You said “Tell me more.”",
    "handlers_and_tools.py": "said: You said “Good morning!”",
    "collaboration.py": "did comment: {'text': 'Looks good to me'}",
    "batching.py": "How much is 4 and 4?",
    "figures.py": "1 sent,",
    "resilience.py": "open",
}


def test_every_example_is_known_and_none_is_gone() -> None:
    assert sorted(WANTED) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_does_what_it_says(gateway: str, home_of_ann: Path, program: str) -> None:
    ann = Operator(home_of_ann, gateway)
    token = ann.types("token").stdout.strip()
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / program)],
        env=ann.environment({"MEGABOT_API_KEY": token}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert WANTED[program] in done.stdout


def test_examples_are_short() -> None:
    assert all(len((EXAMPLES / name).read_text().splitlines()) <= 40 for name in PROGRAMS)
