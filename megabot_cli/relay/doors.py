"""Where the relay listens: TCP on loopback, a Unix socket, or TLS for other machines."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiohttp import web

from megabot_cli.client.trust import why_unread
from megabot_cli.config.listen import parse_listen, unix_path
from megabot_cli.config.schema import RelaySettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.listening.doorkeeper import KEEPER, Doorkeeper
from megabot_cli.listening.private_socket import bind_private_socket
from megabot_cli.listening.unreadable import protocols_of
from megabot_cli.relay.admission import LOOPBACK_HOSTS
from megabot_cli.relay.own_certificate import Validity, validity_of
from megabot_cli.relay.tls_door import TlsDoor

log = structlog.get_logger("relay")

MOST_LINE_BYTES = 4096  # of a request line, and so of a URL
MOST_FIELD_BYTES = 8190


class Door(msgspec.Struct):
    """One address that is taken."""

    listen: str
    socket: socket.socket
    tls: ssl.SSLContext | None = None
    certificate: Validity | None = None

    @property
    def port(self) -> int | None:
        name = self.socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else None

    @property
    def address(self) -> str:
        """`127.0.0.1:3100`, or `unix:/run/…` as it was given."""
        if unix_path(self.listen) is not None:
            return self.listen
        host, _ = parse_listen(self.listen)
        shown = f"[{host}]" if ":" in host else host
        return f"{shown}:{self.port}"

    def url(self, scheme: str, path: str) -> str:
        """`ws` or `http` to a path behind this door. A Unix socket has one URL for all."""
        if unix_path(self.listen) is not None:
            return self.address
        return f"{scheme}{'s' if self.tls is not None else ''}://{self.address}{path}"


class Doors:
    """Takes the addresses at once, so that a second relay fails before it leaves a trace."""

    def __init__(self, settings: RelaySettings, on_turned_away: Callable[[str], None]) -> None:
        self._settings = settings
        self._on_turned_away = on_turned_away
        self._keepers: list[Doorkeeper] = []
        self._servers: list[asyncio.Server] = []
        self._tls_doors: list[TlsDoor] = []
        self._runners: list[web.AppRunner] = []
        self._open: list[Door] = []

    def take(
        self, listen: str, *, option: str = "--listen", tls: ssl.SSLContext | None = None
    ) -> Door:
        """Bind an address, which `option` says; `tls` is for others than a Unix socket, which is
        on this machine and its owner's alone. Raises BadConfiguration, having let go of all
        others."""
        path = unix_path(listen)
        tls = tls if path is None else None
        try:
            taken = _take_unix(Path(path)) if path is not None else _bind_tcp(listen)
        except OSError as fault:
            self.close()
            # asyncio puts the address into its words; it is in ours already.
            reason = os.strerror(fault.errno) if fault.errno else str(fault)
            raise BadConfiguration(
                f"cannot listen on {listen}: {reason}",
                f"Is another relay running? {option} 127.0.0.1:0 takes a free port.",
            ) from None
        door = Door(listen, taken, tls, validity_of(tls) if tls is not None else None)
        self._open.append(door)
        return door

    def show_certificate(self, settings: RelaySettings) -> bool:
        """Read the certificate again for who comes from now on; whether it is another than before.
        Raises BadConfiguration."""
        before = self.certificate
        for door in self._open:
            if door.tls is not None:
                server_tls(settings)  # one that is of no use must not replace half of a good one
                _load_certificate(door.tls, settings)
                door.certificate = validity_of(door.tls)
        return self.certificate != before

    @property
    def certificate(self) -> Validity | None:
        """How long the one holds that clients are shown now; None where there is no TLS."""
        return next((door.certificate for door in self._open if door.certificate), None)

    async def serve(self, door: Door, app: web.Application) -> None:
        """Let `app` answer whoever comes through this door."""
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1.0,
        )
        keeper = app[KEEPER] = Doorkeeper(
            deadline_s=self._settings.header_deadline_s,
            most_unknown=self._settings.max_unknown,
            on_turned_away=self._on_turned_away,
        )
        await runner.setup()
        limits = {"max_line_size": MOST_LINE_BYTES, "max_field_size": MOST_FIELD_BYTES}
        keeper.make = protocols_of(runner, **limits)
        self._keepers.append(keeper)
        self._runners.append(runner)
        if door.tls is not None:
            tls_door = TlsDoor(keeper, door.socket, door.tls)
            tls_door.start()
            self._tls_doors.append(tls_door)
            return
        loop = asyncio.get_running_loop()
        create: Any = loop.create_unix_server if _is_unix(door) else loop.create_server
        self._servers.append(await create(keeper.open, sock=door.socket))

    @property
    def strangers(self) -> int:
        return sum(map(len, self._keepers))

    async def stop(self) -> None:
        """Stop listening and end what is left of the requests."""
        for server in self._servers:
            server.close()
        for tls_door in self._tls_doors:
            tls_door.close()
        for keeper in self._keepers:
            keeper.stop()
        for runner in self._runners:
            await runner.cleanup()
        for tls_door in self._tls_doors:
            await tls_door.stopped()
        self.close()

    def close(self) -> None:
        """Let go of the addresses."""
        for door in self._open:
            door.socket.close()
            path = unix_path(door.listen)
            if path is not None:
                Path(path).unlink(missing_ok=True)
        self._open.clear()


def refuse_open_doors(settings: RelaySettings) -> None:
    """Other machines may come only with TLS and a client token, unless that is overruled.

    Raises BadConfiguration for an address that they could reach otherwise.
    """
    for listen in (settings.listen, settings.admin_listen):
        if unix_path(listen) is not None or parse_listen(listen)[0] in LOOPBACK_HOSTS:
            continue
        safe = listen == settings.listen and settings.tls_cert_file and settings.require_token
        if not safe and not settings.insecure_remote:
            raise BadConfiguration(
                f"{listen} can be reached from other machines, without TLS and a client token",
                "Listen on 127.0.0.1; or give relay.tls_cert_file, relay.tls_key_file and "
                "--require-token; or overrule with --insecure-remote.",
            )
        log.warning("relay.listens_beyond_this_machine", listen=listen, tls=bool(safe))


def server_tls(settings: RelaySettings) -> ssl.SSLContext | None:
    """The certificate that clients see; None where there is none. Raises BadConfiguration."""
    if settings.tls_cert_file is None:
        if settings.tls_key_file is not None:
            raise BadConfiguration(
                "relay.tls_key_file needs relay.tls_cert_file", "Name both, or neither."
            )
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_certificate(context, settings)
    return context


def _load_certificate(context: ssl.SSLContext, settings: RelaySettings) -> None:
    assert settings.tls_cert_file is not None
    certificate, key = Path(settings.tls_cert_file).expanduser(), settings.tls_key_file
    try:
        # Without a password callback OpenSSL would ask on the terminal.
        context.load_cert_chain(
            certificate, Path(key).expanduser() if key is not None else None, password=lambda: ""
        )
    except (OSError, ValueError) as fault:  # SSLError is an OSError too
        raise BadConfiguration(
            f"relay.tls_cert_file {settings.tls_cert_file} is of no use: {why_unread(fault)}",
            "It must be a PEM certificate with its chain; the key, without a password, stands in "
            "relay.tls_key_file or in the same file.",
        ) from None


def peer_uid(transport: asyncio.BaseTransport) -> int | None:
    """Whose program is at the other end of a Unix socket; None where it is none."""
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", credentials)[1])


def _is_unix(door: Door) -> bool:
    return unix_path(door.listen) is not None


def _bind_tcp(listen: str) -> socket.socket:
    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)


def _take_unix(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return bind_private_socket(path, backlog=512)
