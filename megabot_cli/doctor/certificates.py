"""The upstream's certificate: what it says, and everything that is wrong with it."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import ssl as tls
import time
from typing import Any

import aiohttp
import msgspec

from megabot_cli.client.endpoint import Endpoint
from megabot_cli.client.network_faults import network_error, reason_of
from megabot_cli.client.shown_certificates import (
    decoded_authority,
    sent_chain,
    trusting_anybody,
    trusting_only,
)
from megabot_cli.client.trust import PinnedContext, shown_fingerprint
from megabot_cli.config.schema import TlsSettings
from megabot_cli.doctor.findings import Finding, fail, ok, warn
from megabot_cli.doctor.network import host_and_port, is_loopback
from megabot_cli.errors import CouldNotConnect, MegabotError
from megabot_cli.wording import counted

HANDSHAKE_LIMIT_S = 5.0
PROBE_LIMIT_S = 2.0  # for what only makes a better message
SOON_S = 14 * 86400.0
_DAY_S = 86400.0

# What OpenSSL says of a chain that ends with nobody we trust (x509_vfy.h).
_SELF_SIGNED = (18, 19)
_UNKNOWN_ISSUER = (19, 20, 21)
_OTHER_HOST = (62, 64)


class Certificate(msgspec.Struct, frozen=True):
    """What a certificate says of itself; times are Unix seconds."""

    fingerprint: str  # SHA-256, as openssl writes it
    subject: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    not_before: float | None = None
    not_after: float | None = None

    @property
    def self_signed(self) -> bool:
        return bool(self.subject) and self.subject == self.issuer

    def covers(self, host: str) -> bool:
        """Whether it was made for `host`; a `*` stands for one label."""
        host = _plain(host)
        rest = host.partition(".")[2]
        names = [_plain(name) for name in self.names]
        return host in names or (bool(rest) and f"*.{rest}" in names)


class Handshake(msgspec.Struct, frozen=True):
    """What a handshake showed."""

    version: str
    leaf: bytes
    chain: tuple[bytes, ...]
    decoded: dict[str, Any]
    took_s: float


async def examine(
    endpoint: Endpoint, context: tls.SSLContext | bool, settings: TlsSettings
) -> Finding:
    """The check `tls`. A failure names all that is wrong and the fingerprint."""
    if not endpoint.socket_url.startswith("wss:"):
        return await _without_tls(endpoint)
    trusting = context if isinstance(context, tls.SSLContext) else tls.create_default_context()
    try:
        shaken = await _shake_hands(endpoint, trusting)
    except tls.SSLCertVerificationError as fault:
        return await _explain(endpoint, fault, settings)
    except MegabotError as fault:
        return fail(fault)
    certificate = await _certificate_of(endpoint, shaken)
    facts = _facts(certificate, shaken)
    if isinstance(context, PinnedContext):
        return _judge_pin(endpoint, context, certificate, shaken, facts)
    if settings.insecure:
        fix = "Remove tls.insecure; tls.ca_file or tls.fingerprint trust this one certificate."
        print_ = certificate.fingerprint
        return warn(f"not verified (tls.insecure); the certificate is {print_}", fix, **facts)
    return _judge_dates(certificate, shaken, facts)


async def _without_tls(endpoint: Endpoint) -> Finding:
    host, _ = host_and_port(endpoint)
    if await _wants_tls(endpoint):
        secure = endpoint.socket_url.replace("ws://", "wss://", 1)
        return fail(CouldNotConnect("It speaks TLS: use wss://", f"Try --url {secure}"))
    if is_loopback(host):
        return ok("none, and none needed on this machine", used=False)
    return warn(
        f"none: what is said to {host}, the credential too, can be read on the way",
        "Use the wss:// address of the upstream.",
        used=False,
    )


async def _wants_tls(endpoint: Endpoint) -> bool:
    """Whether who answers plain HTTP badly, or not at all, does shake hands.

    It is asked so first: a plain server would note a handshake as a broken request.
    """
    host, port = host_and_port(endpoint)
    asked = f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(PROBE_LIMIT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(asked.encode())
                answer = await reader.read(12)
            finally:
                writer.transport.abort()
    except (TimeoutError, OSError):
        answer = b""
    if answer.startswith(b"HTTP/") and not answer.endswith(b" 400"):
        return False
    try:
        async with asyncio.timeout(PROBE_LIMIT_S):
            await _shake_hands(endpoint, trusting_anybody())
    except (TimeoutError, MegabotError, tls.SSLError):
        return False
    return True


async def _shake_hands(endpoint: Endpoint, context: tls.SSLContext) -> Handshake:
    """Raises SSLCertVerificationError as it comes, CouldNotConnect for any other fault."""
    host, port = host_and_port(endpoint)
    began = time.perf_counter()
    try:
        async with asyncio.timeout(HANDSHAKE_LIMIT_S):
            _, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=host, ssl_handshake_timeout=None
            )
    except tls.SSLCertVerificationError:
        raise
    except TimeoutError:
        raise CouldNotConnect(
            f"No TLS within {HANDSHAKE_LIMIT_S:g} s", "Is it a ws:// or http:// address instead?"
        ) from None
    except tls.SSLError as fault:
        raise CouldNotConnect(
            f"What answers there does not speak TLS as we do: {fault.reason or 'no reason given'}",
            "Is it a ws:// or http:// address instead?",
        ) from None
    except OSError as fault:
        raise CouldNotConnect(
            f"The connection ended in the middle of TLS: {reason_of(fault)}",
            "Is it a ws:// or http:// address instead?",
        ) from None
    try:
        spoken: Any = writer.get_extra_info("ssl_object")
        return Handshake(
            version=spoken.version() or "",
            leaf=spoken.getpeercert(True) or b"",
            chain=sent_chain(spoken),
            decoded=spoken.getpeercert() or {},
            took_s=time.perf_counter() - began,
        )
    finally:
        writer.transport.abort()


def _signers(shaken: Handshake) -> list[Certificate]:
    """The certificates above the leaf, as they were sent. Python reads those of authorities."""
    return [
        read(decoded_authority(sent), shown_fingerprint(hashlib.sha256(sent).digest()))
        for sent in shaken.chain[1:]
    ]


async def _explain(
    endpoint: Endpoint, fault: tls.SSLCertVerificationError, settings: TlsSettings
) -> Finding:
    """Why a certificate is not trusted: it is asked for again, and read without being trusted."""
    said = f"The certificate is not trusted: {fault.verify_message}"
    try:
        shaken = await _shake_hands(endpoint, trusting_anybody())
    except (MegabotError, tls.SSLError):
        return fail(CouldNotConnect(said, "`tls.ca_file` names certificates to trust."))
    certificate = await _certificate_of(endpoint, shaken)
    host, _ = host_and_port(endpoint)
    wrong = problems(
        certificate, host, fault.verify_code, time.time(), own_ca=bool(settings.ca_file)
    )
    facts = {**_facts(certificate, shaken), "problems": [word for word, _, _ in wrong]}
    if not wrong:
        hint = f"Its fingerprint is {certificate.fingerprint}."
        return fail(CouldNotConnect(said, hint), **facts)
    texts = "; ".join(text for _, text, _ in wrong)
    fixes = " ".join(dict.fromkeys(fix for _, _, fix in wrong))
    message = f"The certificate is {texts}. Its fingerprint: {certificate.fingerprint}"
    return fail(CouldNotConnect(message, fixes), **facts)


def problems(
    certificate: Certificate, host: str, code: int, now: float, *, own_ca: bool
) -> list[tuple[str, str, str]]:
    """All that is wrong: a stable word, a text, what to do. `code` is OpenSSL's, of the first."""
    found: list[tuple[str, str, str]] = []
    if certificate.not_after is not None and certificate.not_after < now:
        days = (now - certificate.not_after) / _DAY_S
        text = f"expired since {_day(certificate.not_after)} ({counted(days, 'day')} ago)"
        found.append(("expired", text, "Whoever runs the upstream must renew it."))
    if certificate.not_before is not None and certificate.not_before > now:
        text = f"not valid before {_day(certificate.not_before)}"
        found.append(("not_yet_valid", text, "Is this machine's clock right? See `clock`."))
    if (certificate.names and not certificate.covers(host)) or code in _OTHER_HOST:
        names = ", ".join(certificate.names[:5]) or certificate.subject
        fix = "Use a host it is made for in the profile's url; or another server answers here."
        found.append(("other_host", f"for {names}, not for {host}", fix))
    if code in _SELF_SIGNED[:1] or (certificate.self_signed and not own_ca):
        fix = (
            "If it is yours, compare the fingerprint there and pin it with the profile's "
            f"tls.fingerprint or MEGABOT_TLS_FINGERPRINT: {certificate.fingerprint}"
        )
        found.append(("self_signed", "signed by nobody but itself", fix))
    elif code in _UNKNOWN_ISSUER:
        text = f"signed by {certificate.issuer or 'somebody'}, whom this machine does not know"
        fix = "tls.ca_file names the issuer's certificate; or the upstream sends too short a chain."
        found.append(("unknown_issuer", text, fix))
    return found


def _judge_pin(
    endpoint: Endpoint,
    context: PinnedContext,
    certificate: Certificate,
    shaken: Handshake,
    facts: dict[str, Any],
) -> Finding:
    found = hashlib.sha256(shaken.leaf).digest()
    if found != context.pin:
        mismatch = aiohttp.ServerFingerprintMismatch(context.pin, found, *host_and_port(endpoint))
        return fail(network_error(mismatch, endpoint.address, HANDSHAKE_LIMIT_S), **facts)
    return ok(f"{shaken.version}, the pinned certificate {certificate.fingerprint}", **facts)


def _judge_dates(certificate: Certificate, shaken: Handshake, facts: dict[str, Any]) -> Finding:
    """A chain ends with the first of its certificates that does."""
    signers = _signers(shaken)
    names = " ← ".join(each.subject or "?" for each in (certificate, *signers))
    said = f"{shaken.version}, {names}, signed by {_last_issuer(certificate, signers)}"
    ends = [each.not_after for each in (certificate, *signers) if each.not_after is not None]
    if not ends:
        return ok(said, **facts)
    left_s = min(ends) - time.time()
    said = f"{said}, until {_day(min(ends))}"
    if left_s < SOON_S:
        fix = "Whoever runs the upstream has to renew it before then."
        return warn(f"{said}: only {counted(left_s / _DAY_S, 'day')} left", fix, **facts)
    return ok(said, **facts)


def _last_issuer(certificate: Certificate, signers: list[Certificate]) -> str:
    top = signers[-1] if signers else certificate
    return "itself" if top.self_signed else top.issuer or "a trusted issuer"


def _facts(certificate: Certificate, shaken: Handshake) -> dict[str, Any]:
    return {
        "used": True,
        "version": shaken.version,
        "took_s": round(shaken.took_s, 4),
        "certificate": msgspec.to_builtins(certificate),
        "chain": msgspec.to_builtins(_signers(shaken)),
    }


async def _certificate_of(endpoint: Endpoint, shaken: Handshake) -> Certificate:
    """What the leaf says. Python reads only certificates it trusts, so one that nobody trusts
    is asked for once more, with trust in exactly this one, whatever its dates."""
    decoded = shaken.decoded
    if not decoded:
        try:
            decoded = (await _shake_hands(endpoint, trusting_only(shaken.leaf))).decoded
        except (MegabotError, tls.SSLError, ValueError):
            decoded = {}
    return read(decoded, shown_fingerprint(hashlib.sha256(shaken.leaf).digest()))


def read(decoded: dict[str, Any], fingerprint: str) -> Certificate:
    """A certificate out of what `getpeercert` says."""
    names = tuple(
        str(name)
        for kind, name in decoded.get("subjectAltName", ())
        if kind in ("DNS", "IP Address")
    )
    return Certificate(
        fingerprint,
        _name(decoded.get("subject", ())),
        _name(decoded.get("issuer", ())),
        names,
        _seconds(decoded.get("notBefore")),
        _seconds(decoded.get("notAfter")),
    )


def _plain(host: str) -> str:
    """A name in small letters, an address in its one short form."""
    try:
        return ipaddress.ip_address(host.strip()).compressed
    except ValueError:
        return host.lower()


def _name(parts: Any) -> str:
    """`commonName`, else `organizationName`, else all of a distinguished name."""
    fields = {str(key): str(value) for part in parts for key, value in part}
    return (
        fields.get("commonName")
        or fields.get("organizationName")
        or ", ".join(f"{key}={value}" for key, value in fields.items())
    )


def _seconds(text: str | None) -> float | None:
    return float(tls.cert_time_to_seconds(text)) if text else None


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
