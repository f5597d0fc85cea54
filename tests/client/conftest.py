"""What the tests of this room share: an HTTP session, a certificate, and no task left over."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.certificates import make_certificate


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def until(condition: Callable[[], Any], limit_s: float = 15.0) -> None:
    """Return when `condition` is true; fail when it never becomes so."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  the condition is another object's state
            await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of its own for 127.0.0.1, in one PEM file."""
    made = make_certificate(tmp_path_factory.mktemp("certificate"), "127.0.0.1")
    both = made.cert_file.with_name("both.pem")
    both.write_bytes(made.cert_file.read_bytes() + made.key_file.read_bytes())
    return both


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
