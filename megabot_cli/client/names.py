"""Names of hosts, asked of the system in threads that may be left behind.

A resolver that nobody answers hangs for half a minute and cannot be broken off. Nothing that
ends, by Ctrl-C or because time ran out, waits for it.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

Address = tuple[int, str]  # its family, and the address as text
Found = list[Address] | OSError | UnicodeError

_NUMERIC: Final = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


async def look_up(host: str, port: int, family: int = socket.AF_UNSPEC) -> list[Address]:
    """The addresses of a host, each once. OSError or UnicodeError as the system says it."""
    import asyncio

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Address]] = loop.create_future()

    def settle(found: Found) -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def take(found: Found) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, found)

    _ask(host, port, family, take)
    return await answer


def wait_for(host: str, port: int, limit_s: float) -> list[Address]:
    """As `look_up`, without an event loop. TimeoutError after `limit_s`."""
    answer: queue.SimpleQueue[Found] = queue.SimpleQueue()
    _ask(host, port, socket.AF_UNSPEC, answer.put)
    try:
        found = answer.get(timeout=limit_s)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


def _ask(host: str, port: int, family: int, take: Callable[[Found], None]) -> None:
    def ask() -> None:
        try:
            rows = _asked(host, port, family)
            take(list(dict.fromkeys((row[0], _as_text(row[4])) for row in rows)))
        except (OSError, UnicodeError) as fault:
            take(fault)

    threading.Thread(target=ask, name="resolver", daemon=True).start()


def _asked(host: str, port: int, family: int) -> list[Any]:
    kind = (family, socket.SOCK_STREAM, 0)
    try:  # addresses of a kind that this machine has none of lead nowhere
        return socket.getaddrinfo(host, port, *kind, socket.AI_ADDRCONFIG)
    except socket.gaierror:  # nor is its loopback counted as having one
        return socket.getaddrinfo(host, port, *kind)


def _as_text(address: tuple[Any, ...]) -> str:
    """With its interface, where it means nothing without (fe80::1%eth0)."""
    scoped = len(address) == 4 and address[3]
    return str(socket.getnameinfo(address, _NUMERIC)[0] if scoped else address[0])
