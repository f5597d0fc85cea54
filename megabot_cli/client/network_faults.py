"""What aiohttp and the system raise, as errors of ours.

Translated here and nowhere else. The text of aiohttp's own errors is never passed on:
`ClientResponseError` and `InvalidURL` print the URL, which may hold `?token=`.
"""

from __future__ import annotations

import os
import re
import ssl
from errno import EMFILE, ENFILE

import aiohttp

from megabot_cli.client.trust import shown_fingerprint
from megabot_cli.errors import CouldNotConnect, MegabotError, UpstreamRefused

_GATEWAYS_PORT = "3000"  # where `megabot gateway` listens unless it is told
_HERE = re.compile(r"(https?|wss?)://((?:localhost|127(?:\.\d+){3}|\[::1\]))(?::(\d+))?\Z")

# What a call into aiohttp may raise for reasons that lie outside this program. ValueError:
# header values and URLs that cannot travel.
NETWORK_FAULTS = (aiohttp.ClientError, OSError, ssl.SSLError, TimeoutError, ValueError)


# By OpenSSL's numbers (X509_V_ERR_…): 9 not yet valid, 10 expired, 62 another name, 64 another
# address. Of two faults OpenSSL tells the first that it meets; doctor tells all.
_ANOTHER_HOST = "Use a host that it is made for in the profile's url; or another server answers."
_TO_DO = {
    9: "Is this machine's clock right? If so, the upstream shows a certificate too early.",
    10: "Whoever runs the upstream must renew it, or this machine's clock is wrong.",
    62: _ANOTHER_HOST,
    64: _ANOTHER_HOST,
}
_NOT_KNOWN = "`tls.ca_file` names certificates to trust instead of the system's."


def network_error(fault: BaseException, address: str, timeout_s: float) -> MegabotError:
    """Say why nothing could be exchanged with `address`."""
    match fault:
        case MegabotError():
            return fault
        case aiohttp.ServerFingerprintMismatch():
            return CouldNotConnect(
                f"The certificate of {address} is not the pinned one: it has the fingerprint "
                f"{shown_fingerprint(fault.got)} and {shown_fingerprint(fault.expected)} is pinned",
                "If it was renewed, set tls.fingerprint to the new one; if not, somebody may "
                "stand in between.",
            )
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return _tls_error(fault, address)
        case aiohttp.ClientConnectorDNSError():
            return CouldNotConnect(
                f"The host of {address} is not known", "Check the profile's url and the network."
            )
        case aiohttp.ServerDisconnectedError():
            return CouldNotConnect(
                f"{address} closed the connection without an answer",
                "Is it a wss:// address?"
                if address.startswith(("ws:", "http:"))
                else "Does it speak HTTP there?",
            )
        case aiohttp.ClientConnectorError() if fault.os_error.errno in (EMFILE, ENFILE):
            return CouldNotConnect(
                f"Could not connect to {address}: {reason_of(fault.os_error)}",
                "`ulimit -n` says how many a program may have open here, and raises it.",
            )
        case aiohttp.ClientConnectorError():
            return CouldNotConnect(
                f"Could not connect to {address}: {reason_of(fault.os_error)}",
                is_it_running(address),
            )
        case TimeoutError():
            return CouldNotConnect(
                f"{address} did not answer within {timeout_s:g} s", "Check the profile's url."
            )
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return UpstreamRefused(
                f"What answers at {address} does not speak HTTP as it should",
                "Check the profile's url.",
            )
        case OSError():
            why = reason_of(fault)
            return CouldNotConnect(f"Could not connect to {address}: {why}", is_it_running(address))
        case _:
            kind = type(fault).__name__
            return CouldNotConnect(
                f"Could not connect to {address} ({kind})", is_it_running(address)
            )


def is_it_running(address: str) -> str:
    """What to do where nobody takes a connection."""
    if address.startswith("unix:"):
        return f"Is it running? `megabot relay --listen {address}` starts one."
    here = _HERE.match(address)
    if here is None:
        return "Is it running there? Check the profile's url."
    scheme, host, port = here.groups()
    if scheme in ("wss", "https"):  # no gateway of ours speaks it
        return "Is it running? Check the port in the profile's url."
    listen = "" if port == _GATEWAYS_PORT else f" --listen {host}:{port or 80}"
    return f"Is it running? `megabot gateway{listen}` starts one here."


def reason_of(fault: OSError) -> str:
    """The system's words: asyncio puts its own, with addresses, in their place."""
    if fault.errno is not None and fault.errno > 0:
        return os.strerror(fault.errno)
    if isinstance(fault, ConnectionResetError):  # asyncio's own, where TLS has only begun
        return "it hung up"
    return fault.strerror or type(fault).__name__


def _tls_error(
    fault: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError, address: str
) -> MegabotError:
    inner = (
        fault.certificate_error
        if isinstance(fault, aiohttp.ClientConnectorCertificateError)
        else fault.os_error
    )
    if isinstance(inner, ssl.SSLCertVerificationError):
        return CouldNotConnect(
            f"The certificate of {address} is not trusted: {inner.verify_message}",
            _TO_DO.get(inner.verify_code, _NOT_KNOWN) + " `megabot doctor` shows the certificate.",
        )
    reason = getattr(inner, "reason", None) or type(inner).__name__
    return CouldNotConnect(
        f"No TLS with {address}: {reason}", "Is it a ws:// or http:// address instead?"
    )
