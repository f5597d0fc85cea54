"""Dialling a scripted upstream with a secret that must show nowhere."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest

from megabot_cli.client.credentials import Credential
from megabot_cli.client.dial import Dialed, dial
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.errors import MegabotError
from tests.support.upstream import ScriptedUpstream

SECRET = "hunter2-and-more"


async def connect(
    http: aiohttp.ClientSession,
    upstream: ScriptedUpstream,
    *,
    kind: Any = "jwt",
    secret: str | None = SECRET,
    **options: Any,
) -> Dialed:
    credential = Credential(kind, secret, upstream.origin) if secret is not None else None
    return await dial(http, parse_endpoint(upstream.url), credential, **options)


@contextmanager
def refused(kind: type[MegabotError], *words: str) -> Iterator[None]:
    """What is inside raises `kind`, says `words`, and shows the secret nowhere."""
    with pytest.raises(kind) as refusal:
        yield
    error = refusal.value
    assert type(error) is kind
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error.hint)
    assert SECRET not in shown
    for word in words:
        assert word in f"{error.message} {error.hint}"
