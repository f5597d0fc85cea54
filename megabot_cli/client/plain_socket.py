"""The least of a WebSocket: blocking, plain TCP or a Unix socket, text only.

Loading aiohttp takes longer than sending a message. Whoever sends one and waits for nothing
needs no more than this; whatever goes otherwise than expected is `NotSoSimple`, and the real
client says what it is.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode, urlsplit

from megabot_cli.client.endpoint import Endpoint

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_LAST_FRAME, _MASKED = 0x80, 0x80
_MOST_HEAD_BYTES: Final = 16 * 1024
_MOST_MESSAGE_BYTES: Final = 256 * 1024  # a greeting is far less
_PIECE_BYTES: Final = 16 * 1024
_HANG_UP_LIMIT_S: Final = 0.5


class NotSoSimple(Exception):
    """This takes the real client. Nothing has been sent."""


class PlainSocket:
    """An open connection; a context manager that closes it as the protocol wants it.

    `headers` and `query` go with the upgrade. All until the connection stands may take
    `limit_s` together.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        *,
        limit_s: float,
    ) -> None:
        """Connect. Raises NotSoSimple."""
        url = urlsplit(endpoint.socket_url)
        if url.scheme != "ws":
            raise NotSoSimple
        self._until = time.monotonic() + limit_s
        self._buffer = b""
        try:
            self._socket = self._connect(endpoint, url.hostname or "", url.port or 80)
        except (OSError, UnicodeError):
            raise NotSoSimple from None
        try:
            asked = "&".join(part for part in (url.query, urlencode(query)) if part)
            self._upgrade(f"{url.path}?{asked}" if asked else url.path, url.netloc, headers)
        except BaseException as fault:  # nobody will use it
            self._socket.close()
            if isinstance(fault, OSError):
                raise NotSoSimple from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if fault is None:
                self._hang_up()
        except (OSError, NotSoSimple):
            pass  # it is gone, which is all we want
        finally:
            self._socket.close()

    def receive_text(self) -> bytes:
        """The next text message. Raises NotSoSimple for whatever else comes first."""
        try:
            while True:
                opcode, data = self._frame()
                if opcode == _TEXT | _LAST_FRAME:
                    return data
                if opcode == _PING | _LAST_FRAME:
                    self._send(_PONG, data)
                elif opcode != _PONG | _LAST_FRAME:
                    raise NotSoSimple
        except OSError:
            raise NotSoSimple from None

    def send_text(self, text: str) -> None:
        """Returns when the system has it. Raises OSError."""
        self._send(_TEXT, text.encode())

    # -- how -------------------------------------------------------------------------------

    def _connect(self, endpoint: Endpoint, host: str, port: int) -> socket.socket:
        if endpoint.unix_path is None:
            return self._connect_by_name(host, port)
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.settimeout(self._left_s())
        try:
            connected.connect(endpoint.unix_path)
        except OSError:
            connected.close()
            raise
        return connected

    def _connect_by_name(self, host: str, port: int) -> socket.socket:
        """To the first of its addresses that answers."""
        from megabot_cli.client import names

        fault: OSError = TimeoutError()
        for _, address in names.wait_for(host, port, self._left_s()):
            try:
                return socket.create_connection((address, port), timeout=self._left_s())
            except OSError as refused:
                fault = refused
        raise fault

    def _upgrade(self, target: str, host: str, headers: Mapping[str, str]) -> None:
        key = base64.b64encode(os.urandom(16))
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Key: {key.decode()}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join([*lines, "\r\n"])
        if not request.isascii() or len(request.splitlines()) != len(lines) + 1:
            raise NotSoSimple
        self._socket.sendall(request.encode())
        while b"\r\n\r\n" not in self._buffer:
            self._read_more(_MOST_HEAD_BYTES)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        named = {
            name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
        }
        digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
        if (
            status.split(" ")[1:2] != ["101"]
            or named.get("sec-websocket-accept") != base64.b64encode(digest).decode()
            or "sec-websocket-extensions" in named
        ):
            raise NotSoSimple

    def _frame(self) -> tuple[int, bytes]:
        """The first byte of the next frame, and what is in it."""
        first, second = self._take(2)
        size = second
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2))
        elif size >= 127:  # 64 bits, or masked, which no server does
            raise NotSoSimple
        return first, self._take(size)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._read_more(_MOST_MESSAGE_BYTES)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _read_more(self, most: int) -> None:
        self._socket.settimeout(self._left_s())
        piece = self._socket.recv(_PIECE_BYTES)
        if not piece or len(self._buffer) > most:
            raise NotSoSimple
        self._buffer += piece

    def _send(self, opcode: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = struct.pack(">BB", _LAST_FRAME | opcode, _MASKED | size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", _LAST_FRAME | opcode, _MASKED | 126, size)
        else:
            head = struct.pack(">BBQ", _LAST_FRAME | opcode, _MASKED | 127, size)
        mask = os.urandom(4)
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        masked = (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")
        self._socket.settimeout(self._left_s())
        self._socket.sendall(head + mask + masked)

    def _hang_up(self) -> None:
        """Say goodbye, and hear the other side's, so that it has read all that we said."""
        self._until = time.monotonic() + _HANG_UP_LIMIT_S
        self._send(_CLOSE, struct.pack(">H", 1000))
        while self._frame()[0] != _CLOSE | _LAST_FRAME:
            continue

    def _left_s(self) -> float:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s
