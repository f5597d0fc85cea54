"""What `send` and `tool` tell a person while nothing comes: what for, and until when."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from megabot_cli.client.connection import MegaBotClient, Received
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.storage.run_files import RunningRelay
    from megabot_cli.terminal.console import Console
    from megabot_cli.terminal.status_line import StatusLine

PATIENCE_S: Final = 1.0  # what comes within this needs no words
_ANSWER_S: Final = 1.0  # for a relay that is asked why it takes no connection


class Waiting:
    """One wait for `who`, for at most `limit_s`.

    On a terminal a line says so after a second and goes when something comes; that the
    relay's upstream is away is said for good. In a pipe nothing is, but `away` is there for
    the error that may follow.
    """

    def __init__(
        self,
        console: Console,
        who: str,
        limit_s: float | None,
        relay: RunningRelay | None = None,
    ) -> None:
        self._console = console
        self._relay = relay
        self._what = f"{who} to take the connection"
        self._who = who
        self._began_at = time.monotonic()
        self._until = "without a limit (--timeout sets one)"
        if limit_s is not None:
            self._until = (
                f"until {time.strftime('%H:%M:%S', time.localtime(time.time() + limit_s))}"
            )
        self._over = False
        self._connected = False
        self._missing = ""
        self._line: StatusLine | None = None
        self.away: str | None = None

    def watch(self, client: MegaBotClient) -> None:
        """Listen for what a relay says of its upstream."""
        client.on("status_update")(self.hear)

    @property
    def what_is_missing(self) -> str:
        """What has not come, for whoever gives up."""
        if self._connected:
            return self._missing
        who = f"T{self._who[1:]}" if self._who.startswith("the ") else self._who
        return f"{who} did not take the connection"

    def connected(self, what: str = "an answer", missing: str = "No whole answer came") -> None:
        """From now on `what` is waited for; `missing` says that it did not come."""
        self._connected = True
        self._what, self._missing = f"{what} from {self._who}", missing

    def over(self) -> None:
        """Something came: whoever waits sees it."""
        self._over = True
        if self._line is not None:
            self._line.hide()

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """Within this a person is told what goes on."""
        import asyncio

        from megabot_cli.terminal.status_line import StatusLine

        if not self._console.err_is_terminal:
            yield
            return
        with StatusLine(self._console) as line:
            self._line = line
            task = asyncio.get_running_loop().create_task(self._tell(line), name="waiting")
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _tell(self, line: StatusLine) -> None:
        import asyncio

        told: str | None = None
        await asyncio.sleep(PATIENCE_S)
        while not self._over:
            if self.away is not None and self.away != told:
                told = self.away
                self._console.note(f"{told}; waiting {self._until}")
            for_s = time.monotonic() - self._began_at
            # What changes stands first: a narrow terminal cuts the line at its end.
            line.say(f"{for_s:.0f} s of waiting for {self._what} {self._until}")
            await asyncio.sleep(PATIENCE_S)
        line.hide()

    async def ask_why(self) -> None:
        """Where a relay did not take the connection in time: ask it what it knows of its upstream.
        It greets once that has greeted it."""
        import asyncio
        from contextlib import suppress

        from megabot_cli.commands.admin_request import ask_relay
        from megabot_cli.errors import MegabotError

        if self._relay is None or self._connected or self.away is not None:
            return
        with suppress(MegabotError):  # then it is not the upstream that is in the way
            facts = await asyncio.to_thread(ask_relay, self._relay, "status", limit_s=_ANSWER_S)
            ours = facts.get("profiles", {}).get(self._relay.profile, facts)
            if why := ours.get("fault"):
                self.away = f"its upstream is away: {why}"
            elif not ours.get("links", {}).get("up"):
                self.away = "its upstream has not answered yet"

    def hear(self, received: Received) -> None:
        """A `status_update`: whether the relay's upstream is there."""
        payload = received.payload()
        status = payload.get("status") if isinstance(payload, dict) else None
        if status == "reconnecting":
            why = payload.get("message")
            self.away = why if isinstance(why, str) else "the upstream is away"
        elif status == "connected":
            self.away = None


def waiting_for(invocation: Invocation, *, direct: bool, limit_s: float | None) -> Waiting:
    """For the relay where one runs and is not gone around, else for the upstream."""
    relay = None if direct else invocation.running_relay()
    who = f"the relay {relay.url}" if relay is not None else invocation.configuration.profile.url
    return Waiting(invocation.console, who, limit_s, relay)
