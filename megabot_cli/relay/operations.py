"""What an operator may ask of a running relay, whether by the admin listener or by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from megabot_cli.client.tasks import TaskSet
from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import BadData, MegabotError, NotFound, PartlyFailed
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.relay.flight import write_dump
from megabot_cli.relay.reloading import Reread, take_over
from megabot_cli.relay.still_open import tell_what_is_open
from megabot_cli.telemetry.logs import set_level

if TYPE_CHECKING:
    from megabot_cli.relay.identity import Identity
    from megabot_cli.relay.pair import Pair
    from megabot_cli.relay.server import Relay
    from megabot_cli.relay.session import Session
    from megabot_cli.relay.sessions import Sessions
    from megabot_cli.storage.recorder import Recorder

log = structlog.get_logger("relay")

ReadSettings = Callable[[], Reread]
Closes = Callable[[CloseCode, str], None]


class Dumps(msgspec.Struct, frozen=True):
    """Where the flight recorder's recordings go, and how they are made."""

    folder: Path
    settings: RecordingSettings


class Operations:
    """The deeds. `read_settings` reads the configuration anew and may raise; `on_reloaded` is
    called when it is in force, and when another recording has begun."""

    def __init__(
        self,
        relay: Relay,
        tasks: TaskSet,
        dumps: Dumps | None,
        read_settings: ReadSettings | None,
    ) -> None:
        self._relay = relay
        self._tasks = tasks
        self._dumps = dumps
        self._read_settings = read_settings
        self._beginning = asyncio.Lock()  # of another recording: one at a time
        self.on_reloaded: Callable[[], None] = lambda: None

    def close(
        self, name: str, code: CloseCode, reason: str, *, profile: str | None = None
    ) -> str | None:
        """Close the client, session or link of that id; says which it was, None: there is none.

        A client may be named by its `client_id` too. A link that is closed is dialled again.
        `profile`: only of that one; BadData where none is given and several have that name.
        """
        found = {each.name: self._find_in(each, name) for each in self._identities_of(profile)}
        holding = {whose: each for whose, each in found.items() if each is not None}
        if len(holding) > 1:
            raise BadData(
                f"There is a {name!r} in several profiles: {', '.join(holding)}",
                "Say which one's: `megabot relay -p PROFILE close ID`.",
            )
        for kind, close in holding.values():
            close(code, reason)
            return kind
        return None

    def _find_in(self, identity: Identity, name: str) -> tuple[str, Closes] | None:
        """What is called so, and how it is closed."""
        pairs: dict[str, list[Pair]] = {}  # of a session there may be several
        for pair in identity.pairs:
            names = {pair.client_id: "client", pair.link_id: "link", pair.session_id: "session"}
            if name in names:
                pairs.setdefault(names[name], []).append(pair)
        for kind, those in pairs.items():
            return kind, functools.partial(self._close_pairs, those)
        for session in identity.sessions:
            for client in session.clients.values():
                if name in (client.id, client.wishes.client_id):
                    return "client", client.close
            if name == session.link.id:
                return "link", lambda _code, _reason, link=session.link: link.drop()
            if name in session.names:
                return "session", functools.partial(_close_session, identity.sessions, session)
        return None

    def _close_pairs(self, pairs: list[Pair], code: CloseCode, reason: str) -> None:
        for pair in pairs:
            self._tasks.start(pair.close(code, reason), "close pair")

    def _identities_of(self, profile: str | None) -> list[Identity]:
        """That profile's, or all; NotFound where it is not served."""
        served = self._relay.identities
        if profile is None:
            return list(served.values())
        if profile not in served:
            known = f"It serves {', '.join(served)}."
            raise NotFound(f"This relay serves no profile {profile!r}", known)
        return [served[profile]]

    def begin_drain(self) -> None:
        """Drain and stop, without waiting for it here."""
        self._shutdown = asyncio.get_running_loop().create_task(self._relay.drain(), name="drain")

    def reauth(self, profile: str | None = None) -> int:
        """Read the credential anew, of all profiles or of one; links that were refused try again.
        Returns how many."""
        return sum(identity.try_again() for identity in self._identities_of(profile))

    def mark(self, text: str) -> None:
        """Put a mark into the recording, for whoever looks for this moment later.

        PartlyFailed where the recording has stopped.
        """
        self._relay.main.parts.witness.fact("mark", note=text.strip())
        recorder = self._relay.recorder
        if recorder is not None and recorder.fault is not None:
            raise PartlyFailed(
                f"No recording has the mark: {recorder.fault}",
                "Who watches, and the flight recorder, has it.",
            )

    async def record_again(self) -> str | None:
        """Where the recording has stopped, begin another; returns its id. None: it goes on, or
        none is wanted.

        PartlyFailed where that cannot be yet.
        """
        recorder = self._relay.recorder
        if recorder is None:
            return None
        async with self._beginning:
            return await self._begin_again(recorder)

    async def _begin_again(self, recorder: Recorder) -> str | None:
        if recorder.healthy:
            return None
        witness, identities = self._relay.main.parts.witness, self._relay.identities
        try:
            with witness.holding(recorder):
                has_begun = await asyncio.to_thread(recorder.begin_again)
                if has_begun:
                    tell_what_is_open(recorder, identities.values(), witness)
        except MegabotError as fault:
            hint = "Make room or mend the folder's permissions; then `megabot relay reload`."
            log.error("recording.not_begun_again", fault=fault.message, hint=hint)
            raise PartlyFailed(f"nothing is recorded yet: {fault.message}", hint) from fault
        if not has_begun:
            return None
        log.info("recording.begun_again", path=str(recorder.folder))
        self.on_reloaded()
        return recorder.id

    async def _try_to_record_again(self) -> None:
        with contextlib.suppress(PartlyFailed):  # it is in the log
            await self.record_again()

    def record_again_soon(self) -> None:
        """As `record_again`, in its own time, and for nobody who waits."""
        self._tasks.start(self._try_to_record_again(), "record again")

    def set_level(self, level: str) -> None:
        """Log lines of this level and above; at `debug` also one for each message."""
        set_level(level)
        self._relay.main.parts.witness.show_messages(level == "debug")

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
            upstream=self._relay.main.upstream_url,
            reason=reason,
            now_ns=time.monotonic_ns(),
            now=time.time(),
            known=self._relay.known_secrets,
        )
        log.info("flight_recorder.written", path=str(path), reason=reason)
        return path

    async def try_to_dump(self, reason: str) -> None:
        """As `dump`, for nobody who waits; what goes wrong is logged."""
        try:
            await self.dump(reason)
        except MegabotError as fault:
            log.error("flight_recorder.not_written", fault=fault.message, hint=fault.hint)

    def dump_soon(self, reason: str) -> None:
        """As `try_to_dump`, in its own time."""
        self._tasks.start(self.try_to_dump(reason), "dump")

    def reload(self) -> tuple[list[str], list[str]]:
        """Read the configuration and the credential again.

        Returns the settings that changed and those that need a restart. A configuration
        that cannot be read raises, and changes nothing. The certificates that clients see, that
        upstreams are shown and that are trusted are read again too: who renews one says so by
        SIGHUP.
        """
        if self._read_settings is None:
            self.reauth()
            return [], []
        main = self._relay.main.parts
        old = (main.settings, main.limits)
        settings, limits, changed, waits = take_over(old, self._read_settings())
        identities = self._relay.identities.values()
        changed += [name for identity in identities for name in identity.renewed_files()]
        certificate = "relay.tls_cert_file"
        if self._relay.doors.show_certificate(settings) and certificate not in changed:
            changed.append(certificate)  # the file has the same name, and another in it
        self.reauth()  # only now: all that can be wrong with the configuration has been seen
        for identity in identities:
            identity.take_over(settings, limits)
        self._relay.admit_anew()
        self.on_reloaded()
        log.info("relay.reloaded", changed=changed, needs_restart=waits)
        return changed, waits


def _close_session(sessions: Sessions, session: Session, code: CloseCode, reason: str) -> None:
    session.give_up_open("the session was closed")
    for client in list(session.clients.values()):
        client.close(code, reason)
    session.give_up_calls()  # while the link is there to say so
    sessions.end(session)
