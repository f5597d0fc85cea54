"""What every session and link of one relay shares."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from megabot_cli.client.endpoint import Endpoint
from megabot_cli.client.ids import new_id
from megabot_cli.client.masks import MaskSource
from megabot_cli.client.tokens import TokenSource
from megabot_cli.config.schema import LimitSettings, ProfileSettings, RelaySettings
from megabot_cli.errors import MegabotError
from megabot_cli.protocol.envelope import build
from megabot_cli.protocol.signing import Signer
from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.relay.engine import Engine
from megabot_cli.relay.heartbeat import Heartbeat
from megabot_cli.relay.turn import Turn
from megabot_cli.relay.witness import Witness
from megabot_cli.telemetry.metrics import RelayNumbers


class RelayParts:
    """Handed down from the relay; nobody below it reaches further than this."""

    def __init__(
        self,
        *,
        settings: RelaySettings,
        limits: LimitSettings,
        profile: ProfileSettings,
        endpoint: Endpoint,
        http: aiohttp.ClientSession,
        open_tokens: Callable[[], TokenSource],
        tls: ssl.SSLContext | bool,
        signer: Signer | None,
        witness: Witness,
        numbers: RelayNumbers,
        engine: Engine,
        known: KnownSecrets,
        identity: str,
        label: str = "",
    ) -> None:
        """`identity` is the name of the profile; so is `label` where a relay serves several.
        `known` is told of every secret before it is used."""
        self.settings = settings
        self.stopping = False  # nothing new goes up any more
        self.limits = limits
        self.profile = profile
        self.endpoint = endpoint
        self.http = http
        self.tls = tls
        self.signer = signer  # of what the relay itself says upstream
        self.witness = witness
        self.numbers = numbers
        self.engine = engine
        self.identity = identity
        self.fault_of_any: Callable[[], MegabotError | None] = lambda: None  # of its links
        self.label = label
        self.loop = asyncio.get_running_loop()
        self.turn = Turn(self.loop)
        self.masks = MaskSource()
        self.heartbeat = Heartbeat(self.loop, settings.heartbeat_s)
        self._open_tokens = open_tokens
        self._known = known
        self.tokens = self._opened_tokens()

    @property
    def whose(self) -> dict[str, str]:
        """What the log lines of a link or client say beside its name."""
        return {"profile": self.label} if self.label else {}

    def hint_of(self, fault: MegabotError) -> str | None:
        """What helps, with the profile that it helps."""
        if fault.hint is None or self.identity == "default":
            return fault.hint
        return fault.hint.replace("`megabot login", f"`megabot -p {self.identity} login")

    @property
    def makes_batches(self) -> bool:
        """Not where messages are signed: one without a signature would have all others refused.
        The flat dialect knows no batch."""
        flat = self.profile.dialect == "flat"
        return self.settings.batching and self.signer is None and not flat

    def reload_tokens(self) -> None:
        """Read the stored credential again: somebody may have logged in since. One that was
        renewed and could not be stored is newer than what stands there."""
        read = self._opened_tokens()
        if not self.tokens.has_renewed(read.credential):
            self.tokens = read

    def _opened_tokens(self) -> TokenSource:
        tokens = self._open_tokens()
        tokens.outcomes = self.numbers.auth_refreshes
        tokens.on_unstored = lambda _: None  # `token_keeping` tells it, and tries again
        tokens.tell_secrets(lambda secrets: self._known.learn(self.identity, secrets))
        return tokens


def notice(
    message_type: str,
    payload: dict[str, object],
    *,
    session_id: str | None = None,
    reply_to: str | None = None,
    corner: dict[str, Any] | None = None,
) -> bytes:
    """A message of the relay's own making; `corner` is its `metadata.megabot`."""
    fields = (("session_id", session_id), ("reply_to", reply_to), ("megabot", corner))
    metadata = {key: value for key, value in fields if value is not None}
    text = build(new_id("msg"), message_type, payload, at=time.time(), metadata=metadata)
    return text.encode()
