"""A shared workspace, as one who is in it sees it."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from megabot_cli.client.reacting import Reacting


class Workspace:
    """`async with client.workspace("plans") as plans: await plans.act("comment", {...})`.

    What the others do comes to the client as `collaborative_action`, who comes and goes as
    `notification`: iterate over the client, or `client.on(...)`.
    """

    def __init__(self, client: Reacting, name: str) -> None:
        self._client = client
        self.name = name

    async def __aenter__(self) -> Workspace:
        await self.join()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client.state != "closed":
            await self.leave()

    async def join(self) -> str:
        """Come in; returns the id of the message."""
        return await self._client.send("session_join", {"session_id": self.name})

    async def leave(self) -> str:
        """Go. `session_leave` is a word of our gateway's; others see us leave at the close."""
        return await self._client.send("session_leave", {"session_id": self.name})

    async def act(self, action: str, data: Any = None) -> str:
        """Tell all others what we do; the upstream fills in who we are."""
        return await self._client.send(
            "collaborative_action", {"session_id": self.name, "action": action, "data": data}
        )
