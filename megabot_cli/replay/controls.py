"""The words that steer a replay under way: from the keyboard or over a control socket."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from megabot_cli.errors import BadConfiguration
from megabot_cli.listening.private_socket import bind_private_socket
from megabot_cli.replay.transport import FASTEST, SLOWEST, Transport

WORDS: Final = ("pause", "resume", "step", "faster", "slower", "speed X", "status", "quit")
KEYS: Final = {".": "step", "+": "faster", "-": "slower", "q": "quit"}
_MOST_LINE: Final = 200
_FAREWELL_S: Final = 1.0


class Controls:
    """Does what a word says. `status` gives how far the replay is."""

    def __init__(self, transport: Transport, status: Callable[[], dict[str, Any]]) -> None:
        self._transport = transport
        self._status = status

    def press(self, key: str) -> None:
        """What a key means; others mean nothing. Space pauses and goes on."""
        if key == " ":
            self.do("resume" if self._transport.paused else "pause")
        elif key in KEYS:
            self.do(KEYS[key])

    def do(self, line: str) -> dict[str, Any]:
        """Obey a line; return what is answered: `{"ok": true, …}` with the status, or why not."""
        word, _, rest = line.strip().partition(" ")
        transport = self._transport
        if word == "speed":
            speed = _number(rest)
            if not SLOWEST <= speed <= FASTEST:
                said = f"speed {rest!r} is no number from {SLOWEST:g} to {FASTEST:g}"
                return {"ok": False, "error": said}
            transport.set_speed(speed)
            return self._answer()
        if rest or word not in ("pause", "resume", "step", "faster", "slower", "status", "quit"):
            return {"ok": False, "error": f"there is no word {line.strip()!r}", "words": WORDS}
        if word == "quit":
            transport.stop()
        elif word != "status":
            getattr(transport, word)()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        transport = self._transport
        return {
            "ok": True,
            "paused": transport.paused,
            "speed": transport.speed,
            "position_s": round(max(0.0, transport.position), 3),
            **self._status(),
        }


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@asynccontextmanager
async def control_socket(path: Path, controls: Controls) -> AsyncIterator[None]:
    """Listen on a Unix socket of the operator's own (0600): a word a line, an answer a line.

    BadConfiguration when the path cannot be used; the socket is gone afterwards.
    """
    talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            try:
                while line := await reader.readline():
                    answer = controls.do(line.decode("utf-8", "replace"))
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
            except ValueError:  # where the next line begins nobody can tell
                said = f"a line has no more than {_MOST_LINE} bytes"
                writer.write(json.dumps({"ok": False, "error": said}).encode() + b"\n")
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's has no owner, and complains when it is cut off at the end.
        talk = asyncio.get_running_loop().create_task(serve(reader, writer), name="replay: control")
        talks[talk] = writer
        talk.add_done_callback(talks.pop)

    try:
        door = bind_private_socket(path, backlog=8)
    except OSError as fault:
        raise BadConfiguration(
            f"Cannot listen on {path}: {fault.strerror or fault}",
            "--control wants the path of a socket that is not there yet, in a folder that is.",
        ) from fault
    server = await asyncio.start_unix_server(connected, sock=door, limit=_MOST_LINE)
    try:
        yield
    finally:
        server.close()
        with suppress(FileNotFoundError):
            os.unlink(path)
        await _end(talks)


async def _end(talks: dict[asyncio.Task[None], asyncio.StreamWriter]) -> None:
    """Hang up once what was answered has left; who does not read it is not waited for."""
    under_way = list(talks)
    for writer in talks.values():
        writer.close()
    if under_way:
        _, deaf = await asyncio.wait(under_way, timeout=_FAREWELL_S)
        for talk in deaf:
            talk.cancel()
        await asyncio.gather(*deaf, return_exceptions=True)
