"""The way to the upstream: its name, its addresses, its clock."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from megabot_cli.client import names
from megabot_cli.client.endpoint import Endpoint
from megabot_cli.client.network_faults import NETWORK_FAULTS, is_it_running, reason_of
from megabot_cli.doctor.findings import Finding, ok, skipped, warn
from megabot_cli.errors import CouldNotConnect

RESOLVE_LIMIT_S = 5.0
CONNECT_LIMIT_S = 5.0
CLOCK_LIMIT_S = 5.0
MOST_SKEW_S = 5.0  # tokens and certificates forgive that much


def host_and_port(endpoint: Endpoint) -> tuple[str, int]:
    """Where the upstream listens, as it is dialled."""
    parts = urlsplit(endpoint.socket_url)
    assert parts.hostname is not None, "an endpoint names a host"
    return parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`. Raises CouldNotConnect when there are none, or none in time."""
    hint = "Check the host in the profile's url, and the network's name service."
    try:
        async with asyncio.timeout(RESOLVE_LIMIT_S):
            return [address for _, address in await names.look_up(host, port)]
    except TimeoutError:
        raise CouldNotConnect(
            f"Nobody says within {RESOLVE_LIMIT_S:g} s where {host} is", hint
        ) from None
    except (OSError, UnicodeError) as fault:
        why = getattr(fault, "strerror", None) or "it is no name"
        raise CouldNotConnect(f"The name {host} is not known: {why}", hint) from None


async def look_up(endpoint: Endpoint) -> tuple[Finding, list[str]]:
    """The check `name`, and the addresses that were found."""
    if endpoint.unix_path is not None:
        return ok("a socket of this machine needs no name"), []
    host, port = host_and_port(endpoint)
    addresses = await resolve(host, port)
    if addresses == [host]:
        return ok(f"{host} is an address", addresses=addresses), addresses
    return ok(f"{host} is {', '.join(addresses)}", addresses=addresses), addresses


async def connect(endpoint: Endpoint, addresses: list[str], proxies: tuple[str, ...]) -> Finding:
    """The check `tcp`: every address is tried, and one that works is enough."""
    if endpoint.unix_path is not None:
        return await _connect_unix(endpoint.unix_path)
    _, port = host_and_port(endpoint)
    tried = await asyncio.gather(*(_try(address, port) for address in addresses))
    good = [each for each in tried if each["fault"] is None]
    facts = {"port": port, "addresses": list(tried)}
    if not good:
        raise _nobody_there(endpoint, tried, proxies)
    silent = [each["address"] for each in tried if each["silent"]]
    first = good[0]
    said = f"port {port} of {first['address']} answers in {first['took_s'] * 1000:.1f} ms"
    if silent:
        fix = "Every connection may try it first and wait: mend the route or the name's addresses."
        return warn(f"{said}, {', '.join(silent)} does not", fix, **facts)
    return ok(said, **facts)


async def _try(address: str, port: int) -> dict[str, Any]:
    began = time.perf_counter()
    fault: str | None = None
    silent = False
    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            _, writer = await asyncio.open_connection(address, port)
        writer.transport.abort()
    except TimeoutError:
        fault, silent = f"no answer within {CONNECT_LIMIT_S:g} s", True
    except OSError as refused:
        fault = reason_of(refused)
    took_s = round(time.perf_counter() - began, 4)
    return {"address": address, "took_s": took_s, "fault": fault, "silent": silent}


async def _connect_unix(path: str) -> Finding:
    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            _, writer = await asyncio.open_unix_connection(path)
        writer.transport.abort()
    except TimeoutError:
        raise CouldNotConnect(f"Nobody answers at {path}", is_it_running(f"unix:{path}")) from None
    except OSError as fault:
        raise CouldNotConnect(
            f"Could not connect to {path}: {reason_of(fault)}", is_it_running(f"unix:{path}")
        ) from None
    return ok(f"{path} answers")


def _nobody_there(
    endpoint: Endpoint, tried: list[dict[str, Any]], proxies: tuple[str, ...]
) -> CouldNotConnect:
    faults = "; ".join(f"{each['address']}: {each['fault']}" for each in tried)
    host, port = host_and_port(endpoint)
    if proxies:
        hint = f"megabot takes no proxy; {' and '.join(proxies)} of the environment is not used."
    elif is_loopback(host):
        hint = is_it_running(endpoint.address)
    elif all(each["silent"] for each in tried):
        hint = "A firewall or a wrong address: nothing comes back at all."
    else:
        hint = "Is it running there? Check the port in the profile's url."
    return CouldNotConnect(f"Port {port} cannot be reached: {faults}", hint)


async def compare_clocks(
    http: aiohttp.ClientSession, endpoint: Endpoint, *, trusted: bool
) -> Finding:
    """The check `clock`: what the upstream's HTTP side says the time is.

    Nothing secret is sent, so a certificate that is not trusted does not matter here; a clock
    that is wrong is often why it is not.
    """
    if endpoint.unix_path is not None:
        return skipped("the same machine has the same clock")
    try:
        async with (
            asyncio.timeout(CLOCK_LIMIT_S),
            http.get(f"{endpoint.origin}/", allow_redirects=False, ssl=trusted) as response,
        ):
            text, here = response.headers.get("Date"), time.time()
    except NETWORK_FAULTS:
        return skipped("the upstream answers no plain HTTP request")
    there = _seconds(text)
    if there is None:
        return skipped("the upstream does not say what time it is")
    return _judge_skew(here - there, trusted=trusted)


def _judge_skew(ahead_s: float, *, trusted: bool) -> Finding:
    """`ahead_s`: by how much our clock is ahead. The header has whole seconds, cut off."""
    skew_s = round(ahead_s - 0.5, 1)
    doubt = "" if trusted else "; its certificate is not trusted, so this is its word alone"
    if abs(skew_s) <= MOST_SKEW_S:
        return ok(f"the same as the upstream's{doubt}", skew_s=skew_s)
    way = "ahead of" if skew_s > 0 else "behind"
    return warn(
        f"this clock is {abs(skew_s):.0f} s {way} the upstream's{doubt}",
        "Set it (timedatectl set-ntp true): tokens and certificates are judged by it.",
        skew_s=skew_s,
    )


def _seconds(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
