"""Connect to the upstream with the profile's credential; renew a refused one once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from megabot_cli.client.dial import Compression, Dialed, dial
from megabot_cli.client.wire import HeardUpstream
from megabot_cli.errors import NotAuthenticated
from megabot_cli.relay.parts import RelayParts

# What the upstream sends is not ours to cut; our own limit is for clients.
ARRIVING_FACTOR = 4

# A link's messages are read, routed and handed to clients who asked for no gzip: it takes
# permessage-deflate in its place.
_OF_A_LINK: Mapping[str, Compression] = {"deflate": "deflate", "gzip": "deflate", "none": "none"}


async def dial_upstream(
    parts: RelayParts,
    *,
    session_id: str | None = None,
    user_id: str | None = None,
    platform: str | None = None,
    transparent: bool = False,
    needs_name: bool = True,
    query: Mapping[str, str] | None = None,
    protocols: Sequence[str] = (),
) -> Dialed:
    """One connection, dialled and greeted. Raises as `client.dial.dial` does.

    `transparent`: a WebSocket of any kind will do. No greeting is awaited, and pings
    and closes are left for whoever reads.
    """
    tokens = parts.tokens
    credential = await tokens.current()
    for last_try in (False, True):
        try:
            return await dial(
                parts.http,
                parts.endpoint,
                credential,
                session_id=session_id,
                user_id=user_id,
                platform=platform,
                send_in=parts.profile.credential_in,
                dialect=parts.profile.dialect,
                timeout_s=parts.settings.dial_timeout_s,
                heartbeat_s=parts.settings.heartbeat_s,
                max_message_bytes=parts.limits.max_message_bytes * ARRIVING_FACTOR,
                compression=_OF_A_LINK[parts.profile.compression],
                await_greeting=not transparent,
                needs_name=needs_name,
                autoping=not transparent,
                autoclose=not transparent,
                query=query,
                protocols=protocols,
                ssl=parts.tls,
                socket_class=HeardUpstream,
            )
        except NotAuthenticated:
            if last_try or credential is None:
                raise
            credential = await tokens.after_refusal(credential)
    raise AssertionError("the loop returns or raises")
