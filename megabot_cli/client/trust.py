"""Whom we trust on the other end of TLS, and how we show who we are."""

from __future__ import annotations

import contextlib
import hashlib
import re
import ssl as tls
from pathlib import Path

from megabot_cli.config.schema import TlsSettings
from megabot_cli.errors import BadConfiguration

_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")


class PinnedContext(tls.SSLContext):
    """A context for one certificate: `pin` is its SHA-256, 32 bytes."""

    pin: bytes = b""


def trust(settings: TlsSettings) -> tls.SSLContext | bool:
    """How certificates are judged; True is the system's way, which costs nothing until a
    connection needs it. Raises as `tls_context`."""
    return True if settings == TlsSettings() else tls_context(settings)


def files_of(settings: TlsSettings) -> dict[str, bytes]:
    """A digest of what the files hold that settings name, by setting; one that cannot be read is
    left out."""
    found = {}
    for name in ("ca_file", "client_cert_file", "client_key_file"):
        named = getattr(settings, name)
        with contextlib.suppress(OSError):
            if named is not None:
                found[name] = hashlib.sha256(Path(named).expanduser().read_bytes()).digest()
    return found


def tls_context(settings: TlsSettings) -> tls.SSLContext:
    """What to trust: `ca_file` or the system's certificates; with `insecure` anything.

    With `fingerprint` the certificate must be that one. Without `ca_file` it then need not
    be signed by anybody we know: whoever pins a certificate has judged it. The client
    certificate is shown where the upstream asks for one. Raises BadConfiguration for files
    and fingerprints of no use.
    """
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    if settings.fingerprint is not None:
        context = PinnedContext(tls.PROTOCOL_TLS_CLIENT)
        context.pin = _read_fingerprint(settings.fingerprint)
    _trust(context, settings.ca_file)
    if settings.insecure or (settings.fingerprint is not None and settings.ca_file is None):
        context.check_hostname = False
        context.verify_mode = tls.CERT_NONE
    _show(context, settings)
    return context


def _trust(context: tls.SSLContext, ca_file: str | None) -> None:
    if ca_file is None:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(Path(ca_file).expanduser())
    except OSError as fault:  # SSLError is one too
        what = why_unread(fault)
        raise BadConfiguration(
            f"tls.ca_file {ca_file} is of no use: {what}", "It must be a file of PEM certificates."
        ) from None


def why_unread(fault: OSError | ValueError) -> str:
    """In words: OpenSSL's name the line of C that they come from."""
    said = getattr(fault, "strerror", None) or str(fault) or "it cannot be read"
    said = re.sub(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$", "", said)
    return "it is no PEM, or its key is missing or has a password" if said == "PEM lib" else said


def _show(context: tls.SSLContext, settings: TlsSettings) -> None:
    if settings.client_cert_file is None:
        if settings.client_key_file is not None:
            raise BadConfiguration(
                "tls.client_key_file needs tls.client_cert_file", "Name the certificate too."
            )
        return
    certificate = Path(settings.client_cert_file).expanduser()
    key = settings.client_key_file
    try:
        # Without a password callback OpenSSL would ask on the terminal.
        context.load_cert_chain(
            certificate, Path(key).expanduser() if key is not None else None, password=lambda: ""
        )
    except (OSError, ValueError) as fault:
        what = why_unread(fault)
        raise BadConfiguration(
            f"tls.client_cert_file {settings.client_cert_file} is of no use: {what}",
            "It must be a PEM certificate; the key, without a password, stands in "
            "tls.client_key_file or in the same file.",
        ) from None


# "sha256 Fingerprint=" is openssl's, "SHA-256:" a browser's.
_LABEL = re.compile(r"sha-?256(?: fingerprint)?\s*[:=]\s*")


def _read_fingerprint(text: str) -> bytes:
    """The SHA-256 of a certificate as openssl or a browser writes it."""
    bare = _LABEL.sub("", text.strip().lower()).replace(":", "").replace(" ", "")
    if _FINGERPRINT.match(bare) is None:
        raise BadConfiguration(
            f"tls.fingerprint {text[:100]!r} is no SHA-256 fingerprint",
            "64 hexadecimal digits: openssl x509 -in CERT -noout -fingerprint -sha256",
        )
    return bytes.fromhex(bare)


def shown_fingerprint(digest: bytes) -> str:
    """As openssl writes it."""
    return digest.hex(":").upper()
