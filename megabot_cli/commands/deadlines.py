"""How long `send` waits: for the whole of an answer, and for anything at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from megabot_cli.errors import TimedOut

if TYPE_CHECKING:
    import asyncio

    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.client.received import Received
    from megabot_cli.commands.waiting import Waiting


@asynccontextmanager
async def deadline(limit_s: float | None, waiting: Waiting | None = None) -> AsyncIterator[None]:
    """TimedOut after `limit_s`; it says what `waiting` knows of why."""
    import asyncio

    try:
        async with asyncio.timeout(limit_s) as bound:
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        if waiting is not None:
            await waiting.ask_why()
        away = f": {waiting.away}" if waiting is not None and waiting.away else ""
        missing = waiting.what_is_missing if waiting is not None else "No whole answer came"
        raise TimedOut(
            f"{missing} within {limit_s:g} s{away}",
            "`megabot doctor` says what is in the way; --timeout sets how long to wait."
            if missing.endswith("connection")
            else "--timeout sets how long to wait.",
        ) from None


class Silence:
    """How long nothing at all may come; whatever comes begins it anew."""

    def __init__(self, client: MegaBotClient, most_s: float | None) -> None:
        self._most_s = most_s
        self._watch: asyncio.Timeout | None = None
        if most_s is not None:
            client.on("*")(self._heard)

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """TimedOut when it lasts too long within this."""
        import asyncio

        try:
            async with asyncio.timeout(self._most_s) as self._watch:
                yield
        except TimeoutError:
            if self._watch is None or not self._watch.expired():
                raise
            raise TimedOut(
                f"Nothing came for {self._most_s:g} s", "--idle-timeout sets how long."
            ) from None
        finally:
            self._watch = None

    def _heard(self, _: Received) -> None:
        import asyncio

        if self._watch is not None and self._most_s is not None and not self._watch.expired():
            self._watch.reschedule(asyncio.get_running_loop().time() + self._most_s)
