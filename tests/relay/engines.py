"""The engines that must keep the contract: a second one joins this list."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from megabot_cli.relay.engine import Engine
from megabot_cli.relay.memory_engine import MemoryEngine

ENGINES: dict[str, Callable[[], Engine]] = {"memory": MemoryEngine}

_chosen = ["memory"]


@pytest.fixture(params=ENGINES, autouse=True, scope="module")
def engine_under_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whichever it is, `new_engine` makes one."""
    _chosen.append(request.param)
    yield
    _chosen.pop()


def new_engine() -> Engine:
    return ENGINES[_chosen[-1]]()
