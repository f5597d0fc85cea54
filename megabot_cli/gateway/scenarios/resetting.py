"""Break a TCP connection, so that the peer sees it."""

from __future__ import annotations

import asyncio
import socket
import struct

_CLOSE_WITH_RESET = struct.pack("ii", 1, 0)  # linger on, for no time: RST instead of FIN


def reset(transport: asyncio.Transport) -> None:
    """End the connection with a TCP reset; what is still to be written is lost."""
    raw = transport.get_extra_info("socket")
    if raw is not None and not transport.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_WITH_RESET)
    transport.abort()
