"""Read certificates that somebody shows, trusted or not: Python reads only those it trusts."""

from __future__ import annotations

import ssl as tls
from typing import Any

# The dates are read, not judged: by OpenSSL's number, as Python has no name for it.
_NO_CHECK_TIME = 0x200000


def trusting_anybody() -> tls.SSLContext:
    """With it a handshake shows the certificate's bytes, and Python reads nothing in them."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = tls.CERT_NONE
    return context


def trusting_only(leaf: bytes) -> tls.SSLContext:
    """With it Python reads `leaf` (DER) in a handshake, whatever its dates and names."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= tls.VERIFY_X509_PARTIAL_CHAIN | tls.VerifyFlags(_NO_CHECK_TIME)
    context.load_verify_locations(cadata=leaf)
    return context


def sent_chain(spoken: Any) -> tuple[bytes, ...]:
    """What the other side of an SSLObject sent, itself first; empty where Python does not tell."""
    for told_by in (spoken, getattr(spoken, "_sslobj", None)):  # before 3.13 only the inner one
        ask = getattr(told_by, "get_unverified_chain", None)
        if ask is not None:
            sent = ask() or ()
            return tuple(each if isinstance(each, bytes) else each.public_bytes(2) for each in sent)
    return ()


def decoded_authority(sent: bytes) -> dict[str, Any]:
    """What a signer's certificate (DER) says, as `getpeercert` tells it; empty for others."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=sent)
        found: list[Any] = context.get_ca_certs()
    except (tls.SSLError, ValueError):
        return {}
    return found[0] if found else {}
