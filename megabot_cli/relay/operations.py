"""What an operator may ask of a running relay, whether by the admin listener or by a signal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from megabot_cli.config.schema import LimitSettings, RecordingSettings, RelaySettings
from megabot_cli.errors import MegabotError, NotFound
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.relay.flight import write_dump
from megabot_cli.relay.link_life import LinkState
from megabot_cli.relay.owned_tasks import OwnedTasks
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.reloading import take_over
from megabot_cli.relay.sessions import Sessions
from megabot_cli.telemetry.logs import set_level

if TYPE_CHECKING:
    from megabot_cli.relay.server import Relay

log = structlog.get_logger("relay")

ReadSettings = Callable[[], tuple[RelaySettings, LimitSettings]]


class Dumps(msgspec.Struct, frozen=True):
    """Where the flight recorder's recordings go, and how they are made."""

    folder: Path
    settings: RecordingSettings


class Operations:
    """The deeds. `read_settings` reads the configuration anew and may raise."""

    def __init__(
        self,
        relay: Relay,
        parts: RelayParts,
        sessions: Sessions,
        tasks: OwnedTasks,
        dumps: Dumps | None,
        read_settings: ReadSettings | None,
    ) -> None:
        self._relay = relay
        self._parts = parts
        self._sessions = sessions
        self._tasks = tasks
        self._dumps = dumps
        self._read_settings = read_settings

    def close(self, name: str, code: CloseCode, reason: str) -> str | None:
        """Close the client, session or link of that id; says which it was.

        A client may be named by its `client_id` too. A link that is closed is dialled again.
        """
        for pair in self._relay.pairs:
            if name in (pair.client_id, pair.link_id):
                self._tasks.start(pair.close(code, reason), "close pair")
                return "client" if name == pair.client_id else "link"
        for session in self._relay.sessions:
            for client in list(session.clients.values()):
                if name in (client.id, client.wishes.client_id):
                    client.close(code, reason)
                    return "client"
            if name == session.link.id:
                session.link.drop()
                return "link"
            if name in session.names:
                for client in list(session.clients.values()):
                    client.close(code, reason)
                self._sessions.end(session)
                return "session"
        return None

    def begin_drain(self) -> None:
        """Drain and stop, without waiting for it here."""
        self._shutdown = self._parts.loop.create_task(self._relay.drain(), name="drain")

    def reauth(self) -> int:
        """Read the credential anew; links that were refused try again. Returns how many."""
        self._parts.reload_tokens()
        failed = [s for s in self._sessions if s.link.life.state is LinkState.FAILED]
        for session in failed:
            session.link.try_again()
        return len(failed)

    def mark(self, text: str) -> None:
        """Put a mark into the recording, for whoever looks for this moment later."""
        self._parts.witness.fact("mark", note=text)

    def set_level(self, level: str) -> None:
        """Log lines of this level and above; at `debug` also one for each message."""
        set_level(level)
        self._parts.witness.show_messages(level == "debug")

    async def dump(self, reason: str) -> Path:
        """Write what the flight recorder holds as a recording; returns its folder."""
        if self._relay.flight is None or self._dumps is None:
            raise NotFound(
                "The flight recorder is off", "Start the relay with --ring 5m to have one."
            )
        path = await asyncio.to_thread(
            write_dump,
            self._relay.flight.snapshot(),
            self._dumps.folder,
            self._dumps.settings,
            tool=f"megabot {self._relay.version}",
            upstream=self._relay.upstream_origin,
            reason=reason,
            now_ns=time.monotonic_ns(),
            now=time.time(),
        )
        log.info("flight_recorder.written", path=str(path), reason=reason)
        return path

    def dump_soon(self, reason: str) -> None:
        """As `dump`, in its own time; what goes wrong is logged."""

        async def dump() -> None:
            try:
                await self.dump(reason)
            except MegabotError as fault:
                log.error("flight_recorder.not_written", fault=fault.message, hint=fault.hint)

        self._tasks.start(dump(), "dump")

    def reload(self) -> tuple[list[str], list[str]]:
        """Read the configuration and the credential again.

        Returns the settings that changed and those that need a restart. A configuration
        that cannot be read raises, and changes nothing.
        """
        self.reauth()
        if self._read_settings is None:
            return [], []
        parts = self._parts
        old = (parts.settings, parts.limits)
        parts.settings, parts.limits, changed, waits = take_over(old, self._read_settings())
        self._relay.admit_anew()
        log.info("relay.reloaded", changed=changed, needs_restart=waits)
        return changed, waits
