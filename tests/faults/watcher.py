"""A client that holds the relay to its promises while it reads.

- Order: numbers of one epoch only rise, and none comes twice.
- Every message that was sent ends in exactly one of: a reply (whole, or streamed to its last
  chunk), an error, `delivery_unknown`. What is unknown may still be answered: then it ended
  in that answer, and the lateness is counted.

What breaks them raises at the next `settled` or `leave`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
from yarl import URL

_names = itertools.count(1)


class Broken(AssertionError):
    """The relay did not keep a promise."""


class Ledger:
    """What became of the messages of one client, over all its connections."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[str]] = {}
        self.numbers: set[tuple[str, int]] = set()
        self.late = 0  # answers that came after all
        self._streamed: set[str] = set()  # whose answer came as a stream, to its last chunk

    @property
    def open(self) -> list[str]:
        return [name for name, ends in self.outcomes.items() if not ends]

    def counted(self) -> Counter[str]:
        """How many messages ended in which way."""
        return Counter(end for ends in self.outcomes.values() for end in ends)

    def streamed(self, name: str) -> None:
        """The last chunk of an answer came: that is the reply, whether it comes whole or not."""
        if name in self.outcomes and name not in self._streamed:
            self.ended(name, "reply")
            self._streamed.add(name)

    def ended(self, name: str, how: str) -> None:
        ends = self.outcomes.get(name)
        if ends is None:
            return  # somebody else's
        if how == "reply" and name in self._streamed and ends == ["reply"]:
            return  # the same answer once more, whole
        if how == "reply" and ends == ["unknown"]:
            ends[:] = ["reply"]
            self.late += 1
            return
        ends.append(how)
        if len(ends) > 1:
            raise Broken(f"{name} ended more than once: {ends}")


class Watcher:
    """One connection to the relay."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool], ledger: Ledger) -> None:
        self.socket = socket
        self.ledger = ledger
        self.messages: list[dict[str, Any]] = []
        self.cursor: str | None = None
        self.closed = asyncio.Event()
        self._last: tuple[str, int] | None = None
        self._broken: Broken | None = None
        self._news = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    @property
    def close_code(self) -> int | None:
        return self.socket.close_code

    @property
    def session(self) -> str:
        return str(self.of_type("connection_established")[0]["payload"]["session_id"])

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    def statuses(self) -> list[str]:
        return [str(each["payload"]["status"]) for each in self.of_type("status_update")]

    def errors(self) -> list[str]:
        return [str(each["payload"]["error"]) for each in self.of_type("connection_error")]

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(json.loads(message.data))
        except Broken as fault:
            self._broken = fault
        finally:
            self.closed.set()
            self._news.set()

    def _take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        metadata = message.get("metadata") or {}
        corner = metadata.get("megabot") or {}
        greets = message["type"] == "connection_established"
        if "cursor" in corner and not corner.get("read_only"):
            self._follow(corner["cursor"], greets=greets)
        asked = metadata.get("reply_to")
        if asked is not None:
            if message["type"] == "chat_stream" and message["payload"]["is_complete"]:
                self.ledger.streamed(asked)
            elif message["type"] == "chat_receive":
                self.ledger.ended(asked, "reply")
            elif message["type"] == "connection_error":
                error = message["payload"]["error"]
                self.ledger.ended(asked, "unknown" if error == "delivery_unknown" else "error")
        self._news.set()

    def _follow(self, cursor: str, *, greets: bool) -> None:
        self.cursor = cursor
        epoch, _, text = cursor.rpartition(":")
        number = (epoch, int(text))
        if greets:  # names what this client has had, and no message
            self._last = number
            return
        if self._last is not None and self._last[0] == epoch and number[1] <= self._last[1]:
            raise Broken(f"{cursor} came after {self._last}")
        if number in self.ledger.numbers:
            raise Broken(f"{cursor} came twice")
        self._last = number
        self.ledger.numbers.add(number)

    async def ask(self, content: str = "hello", **more: Any) -> str:
        """Send a chat message; its id."""
        name = f"msg_watch_{next(_names)}"
        self.ledger.outcomes[name] = []
        message = {"id": name, "type": "chat_send", "payload": {"content": content, **more}}
        await self.send(json.dumps(message | {"timestamp": 0}))
        return name

    async def send(self, text: str) -> None:
        await self.socket.send_str(text)

    async def until(self, found: Callable[[], Any], limit_s: float = 15.0) -> None:
        """Read on until `found` is true; fails when the connection ends before."""
        try:
            async with asyncio.timeout(limit_s):
                while not found():
                    self._check()
                    if self.closed.is_set():
                        text = f"closed ({self.close_code}) before it happened"
                        raise AssertionError(text)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            last = json.dumps(self.messages[-5:], indent=1)
            raise AssertionError(f"not within {limit_s:g} s; last came\n{last}") from None

    async def settled(self, limit_s: float = 15.0) -> Counter[str]:
        """Wait until everything that was asked has ended; how it ended."""
        await self.until(lambda: not self.ledger.open, limit_s)
        self._check()
        return self.ledger.counted()

    async def leave(self) -> None:
        """Close in good order, and check."""
        with contextlib.suppress(OSError, RuntimeError):
            await self.socket.close()
        await asyncio.wait([self._reader])
        self._check()

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken


async def watch(
    http: aiohttp.ClientSession, url: str, ledger: Ledger | None = None, **query: str
) -> Watcher:
    """Connect. With the `ledger` of an earlier connection nothing may come a second time."""
    target = URL(url).update_query(query)
    socket = await http.ws_connect(target, protocols=("megabot.relay.v1",), max_msg_size=0)
    return Watcher(socket, ledger or Ledger())
