"""Addresses to listen on, as people write them."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import PurePath

from megabot_cli.errors import BadConfiguration

_MOST_PATH_BYTES = 103  # of a socket's path, on the systems that allow least


def unix_path(text: str) -> PurePath | None:
    """The path in `unix:/run/megabot.sock`; None for any other address.

    Raises BadConfiguration for a path that no socket can have.
    """
    if not text.startswith("unix:"):
        return None
    path = PurePath(text.removeprefix("unix:"))
    if not path.is_absolute() or len(str(path).encode()) > _MOST_PATH_BYTES:
        raise BadConfiguration(
            f"{text!r} is no address to listen on",
            f"Write unix:/absolute/path of at most {_MOST_PATH_BYTES} bytes.",
        )
    return path


def check_listen(text: str) -> None:
    """BadConfiguration for what is neither a socket's path nor host and port."""
    if unix_path(text) is None:
        parse_listen(text)


def is_loopback(host: str) -> bool:
    """Whether a host, by name or number, is this machine itself."""
    try:
        return host.rstrip(".") == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def parse_listen(text: str) -> tuple[str, int]:
    """Split `HOST:PORT`, `[::1]:PORT` or `:PORT` (loopback); port 0 is any free one."""
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise BadConfiguration(
            f"{text!r} is no address to listen on", "Write HOST:PORT, such as 127.0.0.1:3100."
        )
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and bare == host:
        raise BadConfiguration(f"{text!r} is ambiguous", f"Write [{host}]:{port_text}.")
    return bare or "127.0.0.1", int(port_text)
