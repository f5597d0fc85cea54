"""Functions that are called for messages of a type, and tools that MegaBot may have run here."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from megabot_cli.client.fault_log import fault_log
from megabot_cli.client.received import Received
from megabot_cli.client.tasks import TaskSet

EVERY_TYPE = "*"

Handler = Callable[[Received], Awaitable[None] | None]
Tool = Callable[..., Any]
SendResult = Callable[[dict[str, Any]], Awaitable[Any]]

H = TypeVar("H", bound=Callable[..., Any])


class Handlers:
    """Calls each handler for each message of its type, in the order of their coming.

    A coroutine runs by itself and keeps nobody waiting. What a handler raises is logged, and
    neither the connection nor another handler notices.
    """

    def __init__(self) -> None:
        self._by_type: defaultdict[str, list[Handler]] = defaultdict(list)
        self._tasks = TaskSet()

    def __bool__(self) -> bool:
        return bool(self._by_type)

    def add(self, message_type: str, handler: Handler) -> None:
        self._by_type[message_type].append(handler)

    def dispatch(self, received: Received) -> None:
        message_type = received.head.type if received.head is not None else None
        named = self._by_type.get(message_type, ()) if message_type is not None else ()
        for handler in (*named, *self._by_type.get(EVERY_TYPE, ())):
            self._call(handler, received)

    def _call(self, handler: Handler, received: Received) -> None:
        if inspect.iscoroutinefunction(handler):
            work = self._run(handler, received)
            self._tasks.start(work, f"client handler {_name_of(handler)}")
            return
        try:
            handler(received)
        except Exception as fault:  # a handler may be anything: no fault of it ends the connection
            fault_log().error("handler.failed", handler=_name_of(handler), exc_info=fault)

    async def _run(
        self, handler: Callable[[Received], Awaitable[None]], received: Received
    ) -> None:
        try:
            await handler(received)
        except Exception as fault:
            fault_log().error("handler.failed", handler=_name_of(handler), exc_info=fault)

    async def stop(self) -> None:
        """Cancel what still runs, and return when all of it has ended."""
        await self._tasks.stop()


class Tools:
    """Answers `tool_call`s that name one of its functions with a `tool_result`.

    A function gets the call's parameters by name. What it returns is the result (a string is
    the output too); what it raises makes the call fail with the text of it. Calls for other
    tools are left to others.
    """

    def __init__(self, send: SendResult) -> None:
        self._send = send
        self._by_name: dict[str, Tool] = {}

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def add(self, name: str, tool: Tool) -> None:
        self._by_name[name] = tool

    async def answer(self, received: Received) -> None:
        """The handler of `tool_call`."""
        call = received.payload()
        if not isinstance(call, dict):
            return
        name, execution_id = call.get("tool_name"), call.get("execution_id")
        tool = self._by_name.get(name) if isinstance(name, str) else None
        if tool is None or not isinstance(name, str) or not isinstance(execution_id, str):
            return
        parameters = call.get("parameters")
        outcome = await _run(name, tool, parameters if isinstance(parameters, dict) else {})
        await self._send({"execution_id": execution_id, **outcome})


async def _run(name: str, tool: Tool, parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        result = tool(**parameters)
        if inspect.isawaitable(result):
            result = await result
    except Exception as fault:  # whatever it is, whoever called waits for an answer
        fault_log().warning("tool.failed", tool=name, fault=f"{type(fault).__name__}: {fault}")
        return {"status": "failed", "output": f"{type(fault).__name__}: {fault}"[:1000]}
    output = result if isinstance(result, str) else ""
    return {"status": "completed", "result": result, "output": output}


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
