"""One identity: a profile's credential at its upstream, with all sessions that rest on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import aiohttp

from megabot_cli.client.dial import connector_for
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import TokenSource
from megabot_cli.client.trust import files_of, trust
from megabot_cli.client.wire_form import open_signer
from megabot_cli.config.schema import LimitSettings, ProfileSettings, RelaySettings
from megabot_cli.errors import MegabotError, NotAuthenticated
from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.relay.dedicated import Dedicated
from megabot_cli.relay.engine import Engine
from megabot_cli.relay.link_life import LinkState
from megabot_cli.relay.pair import Pair
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.sessions import Sessions
from megabot_cli.relay.witness import Witness
from megabot_cli.telemetry.metrics import RelayNumbers

Upstream = Literal["up", "unreachable", "refused"]


@dataclass(frozen=True)
class Served:
    """A profile to serve. `open_tokens` gives its credential, read anew after each call."""

    name: str
    profile: ProfileSettings
    open_tokens: Callable[[aiohttp.ClientSession], TokenSource]


class Identity:
    """Its sessions or, in `dedicated` mode, its pairs. Made within a running event loop."""

    def __init__(
        self,
        served: Served,
        *,
        settings: RelaySettings,
        limits: LimitSettings,
        witness: Witness,
        numbers: RelayNumbers,
        engine: Engine,
        known: KnownSecrets,
        alone: bool = True,
    ) -> None:
        profile = served.profile
        endpoint = parse_endpoint(profile.url)
        tls = trust(profile.tls)
        self.name = served.name
        self.tls_insecure = profile.tls.insecure
        self._trusted = files_of(profile.tls)
        self._http = http = aiohttp.ClientSession(
            connector=connector_for(endpoint, tls),
            auto_decompress=False,
        )
        self.parts = RelayParts(
            settings=settings,
            limits=limits,
            profile=profile,
            endpoint=endpoint,
            http=http,
            open_tokens=lambda: served.open_tokens(http),
            tls=tls,
            signer=open_signer(profile.integrity.key_file),
            witness=witness,
            numbers=numbers,
            engine=engine,
            known=known,
            identity=served.name,
            label="" if alone else served.name,
        )
        self.parts.fault_of_any = lambda: self.fault
        self.sessions = Sessions(self.parts)
        self.dedicated = Dedicated(self.parts) if settings.mode == "dedicated" else None

    @property
    def pairs(self) -> list[Pair]:
        return self.dedicated.pairs if self.dedicated is not None else []

    def has_link(self, link: str) -> bool:
        """Whether a session or a pair of it has that link."""
        return self.sessions.have_link(link) or any(each.link_id == link for each in self.pairs)

    @property
    def origin(self) -> str:
        return self.parts.endpoint.origin

    @property
    def upstream_url(self) -> str:
        """What recordings call the upstream; its query may hold secrets that are to be redacted."""
        endpoint = self.parts.endpoint
        return endpoint.socket_url if endpoint.unix_path is None else endpoint.origin

    async def dial_ahead(self) -> Upstream:
        """Dial once and say how that went; a refused credential is no fault of this call.

        That one is not logged: the caller does it, or raises.
        """
        if self.dedicated is not None:
            refusal = await self.dedicated.try_upstream()
            if isinstance(refusal, NotAuthenticated):
                return "refused"
            return "up" if refusal is None else "unreachable"
        session = self.sessions.open_ahead()
        await session.first_outcome.wait()
        if session.link.life.state is LinkState.FAILED:
            return "refused"
        return "up" if session.greeting is not None else "unreachable"

    def tell_refusal(self) -> None:
        """Log that the dial ahead was refused."""
        if self.dedicated is not None:
            self.dedicated.tell_refusal()
        for session in self.sessions:
            session.link.tell_refusal()

    @property
    def fault(self) -> MegabotError | None:
        """Why a link of it is not up, as the last fault says."""
        faults = [session.link.fault for session in self.sessions]
        if self.dedicated is not None:
            faults.append(self.dedicated.fault)
        return next((fault for fault in faults if fault is not None), None)

    @property
    def idle(self) -> bool:
        """Nothing that a client asked is still open. Dedicated pairs know only of what waits."""
        if self.dedicated is not None:
            return self.dedicated.idle
        return all(session.idle for session in self.sessions)

    def renewed_files(self) -> list[str]:
        """The settings whose files hold something else than when they were read: whom to trust,
        and what to show. Raises BadConfiguration where they are of no use."""
        settings = self.parts.profile.tls
        trust(settings)
        now = files_of(settings)
        renewed = [name for name, held in now.items() if held != self._trusted.get(name)]
        return [f"profiles.{self.name}.tls.{name}" for name in renewed]

    def try_again(self) -> int:
        """Read the credential anew, and the files that `tls` names, for dials from now on; links
        that were refused try again. Returns how many."""
        settings = self.parts.profile.tls
        self.parts.tls, self._trusted = trust(settings), files_of(settings)
        self.parts.reload_tokens()
        failed = [s for s in self.sessions if s.link.life.state is LinkState.FAILED]
        for session in failed:
            session.link.try_again()
        return len(failed)

    def take_over(self, settings: RelaySettings, limits: LimitSettings) -> None:
        """From now on these hold, also for the sessions that there are."""
        self.parts.settings, self.parts.limits = settings, limits
        for session in self.sessions:
            session.take_over()

    def drain(self) -> None:
        """Let nobody in who has not been let in yet."""
        if self.dedicated is not None:
            self.dedicated.drain()

    def take_no_more(self) -> None:
        """Only what is under way goes on; what comes from now on is refused by id."""
        self.parts.stopping = True
        for session in self.sessions:
            session.take_over()
        if self.dedicated is not None:
            self.dedicated.take_no_more()

    async def stop_pairs(self) -> None:
        if self.dedicated is not None:
            await self.dedicated.stop()

    async def stop(self) -> None:
        """Close the links without ending their sessions."""
        await self.sessions.stop()
        self.parts.heartbeat.stop()
        await self._http.close()


def profile_of(identities: Mapping[str, Identity], link: str | None) -> str | None:
    """Whose link that is; None where there is one profile, and nothing to tell apart."""
    if link is None or len(identities) == 1:
        return None
    return next((name for name, each in identities.items() if each.has_link(link)), None)
