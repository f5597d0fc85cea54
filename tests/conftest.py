"""What holds for every test: how hard hypothesis tries, who runs beside whom.

Hypothesis tries enough to find, quick on a loaded machine, the same each run (and so keeps no
database); `pytest --hypothesis-profile=search` looks further, differently each time.
"""

import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.ports import kept_port
from tests.support.turns import turn

# A busy machine is no fault of the code: no deadline, and slow examples are no failure.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search", deadline=None, max_examples=5000, suppress_health_check=list(HealthCheck)
)
settings.load_profile("suite")

# Hundreds of programs are started: none has to compile what the one before it has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that starts the suite in the background has it ignore Ctrl-C, `nohup` has it ignore
# SIGHUP, and every program that a test starts would inherit that. What a handler does is not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture
def port() -> Iterator[int]:
    """A port that programs of this test may have one after the other."""
    with kept_port() as port:
        yield port


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With several processes a test marked `alone` waits until no other one runs, before its
    time counts."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)
