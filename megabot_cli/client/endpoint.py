"""Where an upstream is, read from the one URL that an operator gives."""

from __future__ import annotations

import re
from typing import NoReturn
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from megabot_cli.config.listen import unix_path
from megabot_cli.errors import BadConfiguration

_SOCKET_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_HTTP_SCHEMES = {"ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"ws": 80, "wss": 443}
_EXAMPLE = "Write it like ws://127.0.0.1:3000/ws or wss://api.megabot.ai/ws."
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?")
_ADDRESS_6 = re.compile(r"[0-9a-f:.]+(%[a-z0-9._~-]+)?")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")


class Endpoint(msgspec.Struct, frozen=True):
    """The addresses of one upstream. None of them holds a secret."""

    socket_url: str  # "ws://127.0.0.1:3000/ws"
    login_url: str  # "http://127.0.0.1:3000/api/auth/login"
    refresh_url: str
    origin: str  # "http://127.0.0.1:3000": credentials are bound to this
    address: str  # "ws://127.0.0.1:3000": the same in the scheme it was given with, for people
    unix_path: str | None = None  # of the socket that all of them go through

    @property
    def socket_path(self) -> str:
        """The path of `socket_url`, without a query."""
        return urlsplit(self.socket_url).path


def parse_endpoint(url: str) -> Endpoint:
    """Read `ws`, `wss`, `http` or `https`; without a path the socket is at `/ws`.

    `unix:/path` is the socket of a relay on this machine, `unix:/path?profile=NAME` where it
    serves several profiles. Raises `BadConfiguration`, and repeats nothing of a URL that may
    hold a secret.
    """
    address, asked, profile = url.strip().partition("?profile=")
    path = unix_path(address)
    if path is not None:
        at = "http://localhost"
        return Endpoint(
            socket_url=f"ws://localhost/ws{asked}{profile}",
            login_url=f"{at}/api/auth/login",
            refresh_url=f"{at}/api/auth/refresh",
            origin=f"unix:{path}",
            address=f"unix:{path}",
            unix_path=str(path),
        )
    parts = _split(url.strip())
    scheme = _SOCKET_SCHEMES[parts.scheme]
    authority = _authority(parts, _DEFAULT_PORTS[scheme])
    at_path = parts.path if parts.path not in ("", "/") else "/ws"
    query = f"?{parts.query}" if parts.query else ""
    origin = f"{_HTTP_SCHEMES[scheme]}://{authority}"
    return Endpoint(
        socket_url=f"{scheme}://{authority}{at_path}{query}",
        login_url=f"{origin}/api/auth/login",
        refresh_url=f"{origin}/api/auth/refresh",
        origin=origin,
        address=f"{parts.scheme}://{authority}",
    )


def _split(url: str) -> SplitResult:
    if _UNPRINTABLE.search(url):  # urlsplit would drop some of them without a word
        _refuse("holds white space or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        _refuse("cannot be read")
    if parts.scheme not in _SOCKET_SCHEMES:
        _refuse("does not begin with ws://, wss://, http:// or https://")
    if "@" in parts.netloc:
        hint = "`megabot login` stores a credential for this upstream."
        _refuse("holds a user name or password", hint)
    if any(name == "token" for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        hint = "`megabot login --api-key-stdin` stores it; `auth.send_in: query` sends it so."
        _refuse("holds a token", hint)
    if parts.fragment:
        _refuse("holds a fragment (#…), which a WebSocket URL may not (RFC 6455, 3)")
    return parts


def _authority(parts: SplitResult, default_port: int) -> str:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        _refuse("has a port that is no number from 1 to 65535")
    if not host:
        _refuse("names no host")
    if port == 0:
        _refuse("names port 0, where nothing can listen")
    name = _ascii_host(host)
    return name if port is None or port == default_port else f"{name}:{port}"


def _ascii_host(host: str) -> str:
    """The host as it goes on the wire: names in ASCII (IDNA), IPv6 in brackets."""
    if ":" in host:
        if not _ADDRESS_6.fullmatch(host):
            _refuse("has a host that cannot be read")
        return f"[{host}]"
    try:
        name = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        _refuse("has a host that cannot be read")
    if not _NAME.fullmatch(name):
        _refuse("has a host that cannot be read")
    return name


def _refuse(what: str, hint: str = _EXAMPLE) -> NoReturn:
    raise BadConfiguration(f"The upstream's URL {what}", hint) from None
