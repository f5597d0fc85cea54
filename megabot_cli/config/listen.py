"""Addresses to listen on, as people write them."""

from __future__ import annotations

from megabot_cli.errors import BadConfiguration


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
