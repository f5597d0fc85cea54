"""Tasks with an owner: who starts them here can end them all and wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from megabot_cli.client.fault_log import fault_log


class TaskSet:
    """Runs coroutines; a fault in one is logged and ends only that one."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self) -> None:
        """Cancel all that runs, but for the caller, and return when all of it has ended."""
        while others := self._tasks - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            fault_log().error("task.failed", task=task.get_name(), exc_info=fault)
