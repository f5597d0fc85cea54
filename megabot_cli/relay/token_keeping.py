"""Renew a credential before it ends: a link that falls later finds a good one at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from megabot_cli.errors import MegabotError

if TYPE_CHECKING:
    from megabot_cli.client.tokens import TokenSource
    from megabot_cli.relay.identity import Identity

log = structlog.get_logger("relay")

LOOK_S = 1.0
AGAIN_S = 10.0  # after a renewal that failed; the upstream must not be overrun


async def keep_fresh(identity: Identity) -> None:
    """Look at the clock, for as long as the relay runs. No link and no client notices."""
    store_at = 0.0
    while True:
        await asyncio.sleep(LOOK_S)
        # Asked anew each time: a reload puts another source there.
        tokens = identity.parts.tokens
        if tokens.unstored and time.monotonic() >= store_at:
            store_at = time.monotonic() + AGAIN_S
            await _store_again(tokens, identity.name)
        if tokens.expires_at is None or not (tokens.due and tokens.renewable):
            continue
        why = "the upstream did not renew it; the old one is good for the moment"
        try:
            await tokens.current()
        except MegabotError as fault:
            why = fault.message
        if tokens.due:
            log.warning("credential.not_renewed", profile=identity.name, fault=why)
            await asyncio.sleep(AGAIN_S)


async def _store_again(tokens: TokenSource, profile: str) -> None:
    """The relay has the credential; whoever starts next would find one that is spent."""
    try:
        await tokens.store_again()
    except MegabotError as fault:
        log.warning("credential.not_stored", profile=profile, fault=fault.message, hint=fault.hint)
    else:
        log.info("credential.stored", profile=profile)
