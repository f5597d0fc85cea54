"""What a client counts of its traffic, and the messages it remembers for whoever debugs."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from megabot_cli.client.tokens import TokenSource
from megabot_cli.recording.redaction import Redactor

Direction = Literal["sent", "received"]


class ClientMetrics(msgspec.Struct, frozen=True):
    """A snapshot. Bytes are those of messages, without frames and before compression."""

    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    uptime_s: float  # since the client was opened
    messages_per_second: float  # received, on average since then
    reconnects: int
    errors: int  # messages of type connection_error


class LoggedMessage(msgspec.Struct, frozen=True):
    """A message that passed, without its secrets."""

    direction: Direction
    at: float  # Unix seconds
    text: str


class Meter:
    """Plain integers, read when somebody looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._opened_at: float | None = None
        self.messages_sent = 0
        self.messages_received = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.connections = 0
        self.errors = 0

    def came_up(self) -> None:
        self.connections += 1
        if self._opened_at is None:
            self._opened_at = self._clock()

    def snapshot(self) -> ClientMetrics:
        uptime_s = 0.0 if self._opened_at is None else self._clock() - self._opened_at
        return ClientMetrics(
            self.messages_sent,
            self.messages_received,
            self.bytes_sent,
            self.bytes_received,
            uptime_s,
            self.messages_received / uptime_s if uptime_s > 0 else 0.0,
            max(0, self.connections - 1),
            self.errors,
        )


class MessageLog:
    """The newest messages both ways, at most `most`. Nothing secret is kept: neither what looks
    like a secret nor what is known for one. `also` gets each as it travelled: signed,
    as gzip, several in one batch; secrets included; and whether it was binary."""

    def __init__(
        self,
        most: int,
        also: Callable[[Direction, bytes, bool], None] | None = None,
    ) -> None:
        self._also = also
        self._messages: deque[LoggedMessage] = deque(maxlen=most)
        self._redactor = Redactor(os.urandom(16))

    def travelled(self, direction: Direction, data: str | bytes, *, binary: bool) -> None:
        if self._also is not None:
            raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
            self._also(direction, raw, binary)

    def add(self, direction: Direction, text: str | bytes) -> None:
        shown = f"<{len(text)} bytes>" if isinstance(text, bytes) else text
        self._messages.append(LoggedMessage(direction, time.time(), self._redactor.clean(shown)))

    def know(self, secrets: Sequence[str]) -> None:
        """These are in use from now on; those before them may still be told."""
        self._redactor.known.learn("", secrets)

    @classmethod
    def of(cls, wanted: int | MessageLog) -> MessageLog | None:
        """A log of so many; one of somebody's own as it is; None for none."""
        return wanted if isinstance(wanted, MessageLog) else cls(wanted) if wanted else None

    def messages(self) -> list[LoggedMessage]:
        """Oldest first."""
        return list(self._messages)


class Observed:
    """Somebody whose traffic is counted, and remembered where `log_messages` says so."""

    def __init__(self, log_messages: int | MessageLog) -> None:
        self._meter = Meter()
        self._log = MessageLog.of(log_messages)
        self._tokens: TokenSource | None = None

    @property
    def message_log(self) -> list[LoggedMessage]:
        """The newest messages both ways, without secrets; empty without `log_messages`."""
        return self._log.messages() if self._log is not None else []

    def metrics(self) -> ClientMetrics:
        """What has passed so far."""
        return self._meter.snapshot()

    def _sent(self, texts: Sequence[str | bytes], form: tuple[bytes, bool] | None) -> None:
        """`form`: the bytes that the one of them travelled as, and whether binary; None: each
        travelled as it is."""
        self._meter.messages_sent += len(texts)
        self._meter.bytes_sent += sum(map(len, texts))
        if self._log is None:
            return
        if form is not None:
            self._log.travelled("sent", form[0], binary=form[1])
        else:
            for text in texts:
                self._log.travelled("sent", text, binary=isinstance(text, bytes))
        self._remember("sent", texts)

    def _came(self, texts: Sequence[str | bytes]) -> None:
        self._meter.messages_received += len(texts)
        self._meter.bytes_received += sum(map(len, texts))
        self._remember("received", texts)

    def _arrived(self, data: str | bytes, *, binary: bool) -> None:
        """As it travelled; what it holds comes by itself."""
        if self._log is not None:
            self._log.travelled("received", data, binary=binary)

    def _remember(self, direction: Direction, texts: Sequence[str | bytes]) -> None:
        if self._log is None:
            return
        if self._tokens is not None:  # asked each time, for it renews them
            self._log.know(self._tokens.secrets)
        for text in texts:
            self._log.add(direction, text)
