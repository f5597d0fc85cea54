"""Who may connect: Host, Origin, the peer's user, and the client token.

Local does not mean safe: any page in a browser can reach loopback, and a rebound DNS name
makes a foreign page look local. Every route asks here first.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from yarl import URL

# RFC 6454, 7.1, one of them; some pages have a scheme and no host (`file://`).
_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[^][/\\?#@:,\"<>\s\x00-\x20]*)(:[0-9]{1,5})?/?",
    re.IGNORECASE,
)

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class Refusal(msgspec.Struct, frozen=True):
    """Why a request goes no further. `reason` is one of a few words, for the metric."""

    status: int
    reason: str
    message: str


# Not `Bearer …`: in the log that would look like a token, and be redacted.
NO_TOKEN = Refusal(
    401,
    "token",
    "the client token is needed: send it in the header `Authorization`, after `Bearer`",
)


class Admission:
    """The rules of one relay."""

    def __init__(
        self,
        *,
        allowed_origins: Iterable[str],
        allowed_hosts: Iterable[str],
        client_token: str,
        require_token: bool,
    ) -> None:
        self._origins = {origin.rstrip("/").lower() for origin in allowed_origins}
        self._hosts = LOOPBACK_HOSTS | {host.lower() for host in allowed_hosts}
        self._client_token = client_token.encode()
        self._require_token = require_token

    def allow_own_pages(self, ports: Sequence[int]) -> None:
        """Let the relay's own pages connect; the ports are known once it listens."""
        self._origins |= {
            f"{scheme}://{_bracket(host)}:{port}"
            for scheme in ("http", "https")
            for host in LOOPBACK_HOSTS
            for port in ports
        }

    def judge_host(self, host_header: str | None) -> Refusal | None:
        """Refuse names that are not ours: a rebound DNS name comes with its own."""
        name = host_name(host_header)
        if name is None:
            return Refusal(400, "host", "the Host header is malformed")
        if name not in self._hosts:
            return Refusal(
                403,
                "host",
                f"this relay does not answer to the host {name!r} (relay.allowed_hosts)",
            )
        return None

    def judge_origin(self, origin: str | None) -> Refusal | None:
        """Refuse pages that are not on the list; programs send no Origin."""
        if origin is None or origin.rstrip("/").lower() in self._origins:
            return None
        if origin != "null" and not _ORIGIN.fullmatch(origin):
            return Refusal(400, "origin", "the Origin header is malformed")
        return Refusal(
            403,
            "origin",
            f"the page at {origin!r} may not connect (--allow-origin, relay.allowed_origins)",
        )

    def has_token(self, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether the request carries the client token, in any of the three places."""
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        given = (
            bearer if scheme.lower() == "bearer" else "",
            headers.get("X-API-Key", ""),
            query.get("token", ""),
        )
        # compare_digest wants bytes: it refuses text beyond ASCII.
        return any(
            hmac.compare_digest(each.strip().encode("utf-8", "replace"), self._client_token)
            for each in given
        )

    def judge_peer(self, peer_uid: int | None, *, has_token: bool) -> Refusal | None:
        """Let in the token, or a program of our own user where that can be known."""
        if has_token or (not self._require_token and peer_uid == os.getuid()):
            return None
        if peer_uid is not None and not self._require_token:
            return Refusal(403, "peer", "this relay belongs to another user of this machine")
        return NO_TOKEN


def host_name(header: str | None) -> str | None:
    """The name in a Host header without its port, in lower case; None when malformed."""
    if not header or any(character in header for character in "/\\@?# \t"):
        return None
    try:
        url = URL(f"http://{header}/")
        _ = url.port
    except ValueError:
        return None
    return url.host.lower() if url.host else None


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class SocketOwners:
    """Tells whose program holds the other end of a loopback connection.

    Linux lists every socket with its owner in /proc/net/tcp{,6}, as identd has long read
    it. The kernel takes milliseconds to write that list, so questions that come while it
    is being read wait for the next reading, which answers them all.
    """

    def __init__(self) -> None:
        self._questions: dict[str, list[asyncio.Future[int | None]]] = {}
        self._reading = asyncio.Lock()

    async def uid(self, local: tuple[str, int], peer: tuple[str, int]) -> int | None:
        """The user id, or None where it cannot be known. `local` is our end."""
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._questions.setdefault(_row_key(local, peer), []).append(answer)
        async with self._reading:
            if not answer.done():
                await self._read()
        return answer.result()

    async def _read(self) -> None:
        questions, self._questions = self._questions, {}
        owners = await asyncio.to_thread(socket_owners, set(questions))
        for key, answers in questions.items():
            for answer in answers:
                if not answer.done():
                    answer.set_result(owners.get(key))


def socket_owners(wanted: set[str]) -> dict[str, int]:
    """Look up rows of the kernel's socket tables: their own end and the other one → user id.

    The table for IPv6 is read only for what the other did not have. An IPv4 peer of a
    socket that speaks both stands there in its mapped form.
    """
    found = _search(Path("/proc/net/tcp"), wanted)
    missing = wanted - found.keys()
    if missing:
        mapped = {_mapped(key): key for key in missing}
        rows = _search(Path("/proc/net/tcp6"), missing | mapped.keys())
        found |= {mapped.get(key, key): uid for key, uid in rows.items()}
    return found


def _search(table: Path, wanted: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    try:
        with table.open(encoding="ascii") as rows:
            for row in rows:
                columns = row.split(None, 8)
                if len(columns) > 7 and (key := f"{columns[1]} {columns[2]}") in wanted:
                    found[key] = int(columns[7])
    except (OSError, ValueError):
        return found  # no Linux, or a table we do not understand: nothing is known
    return found


def _row_key(local: tuple[str, int], peer: tuple[str, int]) -> str:
    """The peer's own row: its end first."""
    return f"{_hex(*peer)} {_hex(*local)}"


def _hex(host: str, port: int) -> str:
    """An address as the kernel prints it: words of 32 bits in host order, in hexadecimal."""
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    text = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{text}:{port:04X}"


def _mapped(key: str) -> str:
    """An IPv4 row as IPv6 writes it (::ffff:a.b.c.d)."""
    prefix = "0" * 16 + ("FFFF0000" if sys.byteorder == "little" else "0000FFFF")
    return " ".join(prefix + end for end in key.split())
