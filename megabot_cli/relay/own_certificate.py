"""How long the certificate holds that clients are shown. Python does not read what a context
shows: it is asked for as a client would, by handshakes in memory."""

from __future__ import annotations

import contextlib
import ssl

import msgspec

from megabot_cli.client.shown_certificates import (
    decoded_authority,
    sent_chain,
    trusting_anybody,
    trusting_only,
)

_ENDS = ("notBefore", "notAfter")
_FLIGHTS = 3  # of each side, at most: TLS 1.2 needs as many


class Validity(msgspec.Struct, frozen=True):
    """From when to when a certificate holds, Unix seconds."""

    starts_at: float
    ends_at: float
    shown: bytes = b""  # the certificate itself


def validity_of(context: ssl.SSLContext) -> Validity | None:
    """Of the certificate that a server's `context` shows, or of whichever in its chain ends first.

    Takes as long as two clients that come. None where not even one that trusts just this
    certificate would take it.
    """
    try:
        shown = _shake_hands(context, trusting_anybody())
        leaf = shown.getpeercert(True) or b""
        said = decoded_authority(leaf) or _shake_hands(context, trusting_only(leaf)).getpeercert()
    except (ssl.SSLError, ValueError):
        return None
    decoded = [said or {}, *map(decoded_authority, sent_chain(shown)[1:])]
    found = [
        Validity(_seconds(each["notBefore"]), _seconds(each["notAfter"]), leaf)
        for each in decoded
        if all(end in each for end in _ENDS)
    ]
    return min(found, key=lambda each: each.ends_at, default=None)


def _seconds(moment: object) -> float:
    return float(ssl.cert_time_to_seconds(str(moment)))


def _shake_hands(context: ssl.SSLContext, trusting: ssl.SSLContext) -> ssl.SSLObject:
    """The client's side of it. Raises SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    for side in (client, server) * _FLIGHTS:
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client
