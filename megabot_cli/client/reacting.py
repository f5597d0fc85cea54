"""What a client does by itself when messages come: the part of it that is not asking."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

from megabot_cli.client.handlers import H, Handlers, Tools
from megabot_cli.client.observing import MessageLog, Observed
from megabot_cli.client.workspace import Workspace

State = Literal["new", "connecting", "up", "reconnecting", "closed"]


class Reacting(Observed, ABC):
    """Handlers, tools, workspaces; `send` and `state` are the connection's."""

    def __init__(self, log_messages: int | MessageLog) -> None:
        super().__init__(log_messages)
        self._handlers = Handlers()
        self._tools = Tools(self._send_result)

    @property
    @abstractmethod
    def state(self) -> State: ...

    @abstractmethod
    async def send(
        self,
        message_type: str,
        payload: Any,
        *,
        metadata: dict[str, Any] | None = None,
        message_id: str | None = None,
    ) -> str: ...

    def on(self, message_type: str) -> Callable[[H], H]:
        """`@client.on("chat_receive")`: call this for each message of a type; `*` for every one.

        It may be a coroutine function. Messages can still be iterated over.
        """

        def add(handler: H) -> H:
            self._handlers.add(message_type, handler)
            return handler

        return add

    def tool(self, name: str) -> Callable[[H], H]:
        """`@client.tool("add")`: have MegaBot's calls of this tool answered by a function.

        It gets the parameters by name and may be a coroutine function; what it returns is the
        result. Nothing runs that was not named here.
        """

        def add(function: H) -> H:
            if not self._tools:
                self._handlers.add("tool_call", self._tools.answer)
            self._tools.add(name, function)
            return function

        return add

    async def _send_result(self, payload: dict[str, Any]) -> None:
        await self.send("tool_result", payload)

    def workspace(self, name: str) -> Workspace:
        """A shared workspace, to join with `async with` or `join`."""
        return Workspace(self, name)
