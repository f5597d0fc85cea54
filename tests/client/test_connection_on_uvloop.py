"""What is claimed of a client on asyncio's own event loop holds on uvloop too."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.client import test_asking, test_connection, test_connection_loss, test_giving_up

uvloop = pytest.importorskip("uvloop", reason="this system has no uvloop")

Claim = Callable[[], Coroutine[Any, Any, None]]

CLAIMS: dict[str, Claim] = {
    name: claim
    for module in (test_connection, test_asking, test_connection_loss, test_giving_up)
    for name, claim in vars(module).items()
    if name.startswith("test_")
    and inspect.iscoroutinefunction(claim)
    and not inspect.signature(claim).parameters
}


@pytest.mark.parametrize("name", CLAIMS)
def test_on_uvloop(name: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(CLAIMS[name]())
