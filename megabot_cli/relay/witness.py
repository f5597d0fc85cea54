"""Who sees what passes: the recorder, the taps, the debug log."""

from __future__ import annotations

import asyncio
import base64
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol, Unpack

import structlog

from megabot_cli.protocol.close_codes import NO_CODE
from megabot_cli.protocol.envelope import Head
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.stream_redaction import StreamRedactor
from megabot_cli.relay.flight import FlightRecorder
from megabot_cli.relay.taps import Taps
from megabot_cli.storage.askers import ASKER, HELD, LET_GO
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.told import Told

PATIENCE_S = 0.01
_MOST_USERS = 4096  # that are remembered by their link
MOST_BODY = 4000  # characters of a message in a log line

log = structlog.get_logger("relay")


class Tell(Protocol):
    """A whole message passed; of kind `inject`: the relay made it."""

    def __call__(
        self,
        direction: str,
        data: bytes,
        head: Head | None,
        link: str | None,
        session: str | None,
        client: str | None = None,
        binary: bool = False,
        kind: str = "message",
    ) -> None: ...


class TellAll(Protocol):
    """Whole messages passed, all that one read brought."""

    def __call__(
        self,
        direction: str,
        batch: list[bytes],
        link: str | None,
        session: str | None,
        client: str | None,
        binary: bool,
    ) -> None: ...


class Held:
    """Stands before a recorder that begins again: once it has begun, what passes waits until it
    has been told what is open."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._waiting: list[Callable[[], None]] = []

    def put(self, kind: str, **told: Unpack[Told]) -> None:
        self._keep(functools.partial(self._recorder.put, kind, **told))

    def keep_message(self, *told: Any, **named: Any) -> None:
        """As the recorder's."""
        self._keep(functools.partial(self._recorder.keep_message, *told, **named))

    def _keep(self, tell: Callable[[], None]) -> None:
        if self._recorder.fault is not None:
            tell()  # it counts what it lacks
        else:
            self._waiting.append(tell)

    def let_go(self) -> None:
        for tell in self._waiting:
            tell()


class Witness:
    """Tells everyone who watches. A call costs little when nobody does.

    `message` is told of each message; it is the recorder's own method while nobody else
    watches, for a call between costs as much as what it does. The message path asks before
    it tells: `together`, if it is there, takes all that one read brought; else `looks` says
    whether anybody wants to hear of each.
    """

    message: Tell
    together: TellAll | None

    def __init__(
        self,
        recorder: Recorder | None,
        taps: Taps,
        *,
        debug: bool,
        bodies: Redactor | None = None,
        flight: FlightRecorder | None = None,
        profile_of: Callable[[str | None], str | None] = lambda _link: None,
    ) -> None:
        """`bodies` cleans what messages say before it is logged; None: it is not logged.
        `profile_of` says whose a link is, for log lines; None: there is nothing to tell apart."""
        self.recorder = recorder
        self.taps = taps
        self._keepers: list[Recorder | FlightRecorder | Held] = [
            keeper for keeper in (recorder, flight) if keeper is not None
        ]
        self._debug = debug
        self._profile_of = profile_of
        self._bodies = StreamRedactor(bodies) if bodies is not None else None
        self.looks = False
        taps.on_change = self._look_or_not
        self._look_or_not()
        self._users: dict[str, str] = {}  # by link
        self._started_ns = time.monotonic_ns()
        self.started_at = datetime.now(UTC)  # what `t` of a tap's records counts from

    def show_messages(self, show: bool) -> None:
        """Log a line for each message, or no longer."""
        self._debug = show
        self._look_or_not()

    def _look_or_not(self) -> None:
        others = self._debug or len(self.taps) > 0
        alone = not others and len(self._keepers) == 1
        self.message = self._keepers[0].keep_message if alone else self._tell_all
        recorder = self.recorder if alone and self._keepers[0] is self.recorder else None
        self.together = recorder.keep_messages if recorder is not None else None
        self.looks = (others or bool(self._keepers)) and self.together is None

    @contextmanager
    def holding(self, recorder: Recorder) -> Iterator[None]:
        """Within this, what passes once the recorder has begun again comes after what it is told
        here."""
        held, before = Held(recorder), self._keepers
        self._keepers = [held if each is recorder else each for each in before]
        self._look_or_not()
        try:
            yield
        finally:
            self._keepers = before
            self._look_or_not()
            held.let_go()

    @property
    def watching(self) -> bool:
        """Whether anybody is told, in either way."""
        return self.looks or self.together is not None

    @property
    def keeps(self) -> bool:
        """Whether somebody is told of everything, from the relay's start to its end."""
        return bool(self._keepers)

    @property
    def must_wait(self) -> bool:
        """True while the recorder asks readers to read no further."""
        return self.recorder is not None and self.recorder.must_wait

    async def caught_up(self) -> None:
        """Return when the recorder can take more. Its thread sets no event: we look."""
        while self.must_wait:  # noqa: ASYNC110
            await asyncio.sleep(PATIENCE_S)

    def _tell_all(
        self,
        direction: str,
        data: bytes,
        head: Head | None,
        link: str | None,
        session: str | None,
        client: str | None = None,
        binary: bool = False,
        kind: str = "message",
    ) -> None:
        for keeper in self._keepers:
            keeper.keep_message(direction, data, head, link, session, client, binary, kind)
        if client == ASKER:
            client = None
        if self._debug:
            log.debug(
                "message.passed",
                direction=direction,
                client=client,
                link=link,
                session=session,
                type=head.type if head is not None else None,
                id=head.id if head is not None else None,
                size=len(data),
                profile=self._profile_of(link),
                **self._body(data, head, link, binary=binary),
            )
        if len(self.taps):
            self._show_message(direction, data, head, link, session, client, binary, kind)

    def _body(
        self, data: bytes, head: Head | None, link: str | None, *, binary: bool
    ) -> dict[str, str]:
        if self._bodies is None or binary:
            return {}
        message_type = head.type if head is not None else None
        text = self._bodies.clean(data.decode("utf-8", "replace"), message_type, link)
        if len(text) > MOST_BODY:
            text = f"{text[:MOST_BODY]}… ({len(text)} characters)"
        return {"body": text}

    def _show_message(
        self,
        direction: str,
        data: bytes,
        head: Head | None,
        link: str | None,
        session: str | None,
        client: str | None,
        binary: bool,
        kind: str,
    ) -> None:
        fields = self._base(kind)
        fields.update(direction=direction, client=client, link=link, session=session)
        fields.update(user=self.user_of(link), size=len(data))
        if head is not None:
            fields.update(
                user=head.user_id or fields["user"],
                id=head.id,
                type=head.type,
                reply_to=head.reply_to,
            )
        if binary:
            fields.update(opcode="binary", data_b64=base64.b64encode(data).decode())
        else:
            fields["data"] = data.decode("utf-8", "replace")
        self.taps.show(fields)

    def fact(
        self,
        kind: str,
        *,
        client: str | None = None,
        link: str | None = None,
        session: str | None = None,
        user: str | None = None,
        code: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        note: str | None = None,
    ) -> None:
        """Something happened that is no message: `open`, `close`, `drop`, `fault` …"""
        if code == NO_CODE:
            code = None  # it stands for a close that gave none
        for keeper in self._keepers:
            keeper.put(
                kind,
                client=client,
                link=link,
                session=session,
                user=user,
                code=code,
                reason=reason,
                by=by,
                note=note,
            )
        if len(self.taps):
            fields = self._base(kind)
            fields.update(client=client, link=link, session=session)
            fields["user"] = user or self.user_of(link)
            fields.update(code=code, reason=reason, by=by, note=note)
            self.taps.show(fields)

    def hold(self, link: str, message_id: str | None, client: str) -> None:
        """A client's message that passed is held back: answers that name its id are another's."""
        self._note(HELD, link, message_id, client)

    def let_go(self, link: str, message_id: str | None, client: str | None) -> None:
        """It goes up now."""
        self._note(LET_GO, link, message_id, client)

    def _note(self, kind: str, link: str, message_id: str | None, client: str | None) -> None:
        if message_id is not None:
            for keeper in self._keepers:
                keeper.put(kind, client=client, link=link, id=message_id)

    def meet(self, link: str, user: str | None) -> None:
        """Whom the upstream has greeted on a link, for taps: the recorder reads it by itself."""
        if user is None:
            return
        if len(self._users) >= _MOST_USERS and link not in self._users:
            del self._users[next(iter(self._users))]
        self._users[link] = user

    def user_of(self, link: str | None) -> str | None:
        return self._users.get(link) if link is not None else None

    def _base(self, kind: str) -> dict[str, Any]:
        return {"t": (time.monotonic_ns() - self._started_ns) // 1000, "kind": kind}
