"""The relay's life: listen, serve, drain, stop."""

from __future__ import annotations

import asyncio
import importlib
import os
import shlex
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from urllib.parse import urlencode

import structlog

from megabot_cli.client.tasks import TaskSet
from megabot_cli.config.listen import parse_listen, unix_path
from megabot_cli.config.schema import LimitSettings, RelaySettings
from megabot_cli.errors import MegabotError, NotAuthenticated
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.recording.format_v1 import Header, encode_header
from megabot_cli.recording.redaction import Redactor
from megabot_cli.relay.admission import Admission
from megabot_cli.relay.doors import Doors, refuse_open_doors, server_tls
from megabot_cli.relay.engine import Engine
from megabot_cli.relay.flight import FlightRecorder
from megabot_cli.relay.gauges import measure
from megabot_cli.relay.health import health, readiness
from megabot_cli.relay.identity import Identity, Served, Upstream, profile_of
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.loop_lag import LoopLag
from megabot_cli.relay.memory_engine import MemoryEngine
from megabot_cli.relay.operations import Dumps, Operations, ReadSettings
from megabot_cli.relay.pair import Pair
from megabot_cli.relay.routes import AdminRoutes, ClientRoutes
from megabot_cli.relay.session import Session
from megabot_cli.relay.taps import Taps
from megabot_cli.relay.token_keeping import keep_fresh
from megabot_cli.relay.trigger import trigger_of
from megabot_cli.relay.witness import Witness
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_folder import is_sealed
from megabot_cli.telemetry.metrics import RelayGauges, RelayNumbers

log = structlog.get_logger("relay")

LAST_S = 1.0  # of a drain's time: nothing new goes up any more
FLUSH_S = 5.0  # for outboxes, when stopping
QUIET_S = 0.5
CHECK_S = 0.02
HEALTH_CHECK_S = 0.5


class Relay:
    """Joins local clients with the upstreams of the profiles it serves.

    The first of `served` is for clients that name none. `recorder` is owned by the relay from
    `start` on, and sealed by `drain` and `stop`. `redactor` cleans what taps and logs show, and
    what it knows for secret learns of every secret that the relay uses: the recorder is to
    share it. `debug` logs each message, `debug_bodies` also what it says.
    """

    def __init__(
        self,
        settings: RelaySettings,
        limits: LimitSettings,
        *,
        served: Sequence[Served],
        client_token: str,
        version: str,
        recorder: Recorder | None = None,
        stop_on_recorder_fault: bool = False,
        debug: bool = False,
        debug_bodies: bool = False,
        redactor: Redactor | None = None,
        dumps: Dumps | None = None,
        read_settings: ReadSettings | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._first_settings = settings
        self._first_limits = limits
        self._served = served
        self._engine = engine or MemoryEngine()
        self.identities: dict[str, Identity] = {}
        self.numbers = RelayNumbers()
        self.recorder = recorder
        self.started_at = 0.0
        self._client_token = client_token
        self.version = version
        self.flight: FlightRecorder | None = None
        if settings.flight_recorder_s:
            self.flight = FlightRecorder(settings.flight_recorder_s, settings.flight_recorder_bytes)
        self.trigger = trigger_of(settings)
        self._dumps = dumps
        self._read_settings = read_settings
        self._stop_on_recorder_fault = stop_on_recorder_fault
        self._debug = debug
        self._debug_bodies = debug_bodies
        self._redactor = redactor or Redactor(os.urandom(16))
        self.clean = self._redactor.clean
        self.known_secrets = self._redactor.known
        self.known_secrets.learn("client token", [client_token])
        self._tasks = TaskSet()
        self._doors = Doors(settings, self._turned_away)
        self._draining = False
        self._stop_turn = asyncio.Lock()
        self._stopped = asyncio.Event()
        self.stopped_by: str | None = None  # the fault of the recorder that ended it
        self._last_total = 0  # messages that have passed, when last looked
        self._last_change = 0.0

    @property
    def settings(self) -> RelaySettings:
        """What is in force: a reload may have changed it."""
        return self.main.parts.settings if self.identities else self._first_settings

    @property
    def profile_name(self) -> str:
        """Of the profile that clients get who name none."""
        return self._served[0].name

    @property
    def main(self) -> Identity:
        return self.identities[self.profile_name]

    # -- where it is -------------------------------------------------------------------

    @property
    def url(self) -> str:
        """`ws://HOST:PORT/ws`, `wss://…` with a certificate, or `unix:PATH`."""
        return self._client_door.url("ws", "/ws")

    def url_for(self, profile: str) -> str:
        """Where clients of a profile connect; of a Unix socket as `parse_endpoint` reads it."""
        if profile == self.profile_name:
            return self.url
        return f"{self.url}?{urlencode({'profile': profile})}"

    @property
    def tap_url(self) -> str:
        return self._client_door.url("ws", "/relay/tap")

    @property
    def admin_url(self) -> str:
        return self._admin_door.url("http", "")

    # -- starting ----------------------------------------------------------------------

    async def start(self) -> dict[str, Upstream]:
        """Listen, dial each upstream once, and say how that went, by profile.

        Where every credential is refused it raises NotAuthenticated, for nothing could be
        served; an upstream that is away does not: the relay keeps dialling and clients may
        come.
        """
        refuse_open_doors(self.settings)
        self._take_addresses()
        if self.recorder is not None:
            self._start_recorder(self.recorder)
            _tell_unclean(self.recorder)
        self._taps = taps = Taps(self._tap_dropped)
        self._witness = Witness(
            self.recorder,
            taps,
            debug=self._debug,
            bodies=self._redactor if self._debug_bodies else None,
            flight=self.flight,
            profile_of=partial(profile_of, self.identities),
        )
        self._loop_lag = LoopLag(asyncio.get_running_loop(), self.numbers.loop_lag_s)
        self.started_at = time.time()
        try:
            self._open_identities()
            await self._listen()
            upstreams = await self._dial_ahead()
        except BaseException:
            await self.stop()
            raise
        self._tasks.start(self._watch_recorder(), "watch recorder")
        for identity in self.identities.values():
            self._tasks.start(keep_fresh(identity), f"keep the token of {identity.name} fresh")
        if self.trigger is not None:
            work = self.trigger.watch(self._taps.open(self._redactor), self.operations.try_to_dump)
            self._tasks.start(work, "trigger")
        self._loop_lag.start()
        # Nobody who starts a relay waits for what only a scrape needs.
        self._tasks.start(_load_exposition(), "exposition")
        log.info("relay.started", url=self.url, admin=self.admin_url, upstreams=upstreams)
        return upstreams

    def _open_identities(self) -> None:
        for served in self._served:
            self.identities[served.name] = Identity(
                served,
                settings=self._first_settings,
                limits=self._first_limits,
                witness=self._witness,
                numbers=self.numbers,
                engine=self._engine,
                known=self.known_secrets,
                alone=len(self._served) == 1,
            )
            if served.profile.tls.insecure:
                log.warning("upstream.not_verified", profile=served.name)

    def _start_recorder(self, recorder: Recorder) -> None:
        try:
            recorder.start()
        except MegabotError:
            self._doors.close()
            raise

    async def _listen(self) -> None:
        admission = self._make_admission()
        self._clients = ClientRoutes(
            self.identities,
            self.main,
            admission,
            self._tasks,
            self._redactor,
            self._tap_header,
            lambda: self.admin_url,
        )
        self.operations = Operations(self, self._tasks, self._dumps, self._read_settings)
        self._admin = AdminRoutes(
            self, admission, partial(health, self), partial(readiness, self), self._exposition
        )
        await self._doors.serve(self._client_door, self._clients.app())
        await self._doors.serve(self._admin_door, self._admin.app())

    def _exposition(self) -> bytes:
        """What a scrape gets."""
        from megabot_cli.telemetry.exposition import RelayCollector, exposition

        return exposition(RelayCollector(self.numbers, self.gauges, self.version))

    def admit_anew(self) -> None:
        """Who may connect has changed; who is here stays."""
        self._clients.admission = self._admin.admission = self._make_admission()

    def _make_admission(self) -> Admission:
        hosts = [*self.settings.allowed_hosts]
        if unix_path(self.settings.listen) is None:
            hosts.append(parse_listen(self.settings.listen)[0])
        admission = Admission(
            allowed_origins=self.settings.allowed_origins,
            allowed_hosts=hosts,
            client_token=self._client_token,
            require_token=self.settings.require_token,
        )
        ports = (self._client_door.port, self._admin_door.port)
        admission.allow_own_pages([port for port in ports if port is not None])
        return admission

    def _take_addresses(self) -> None:
        """Before anything else is begun: a second relay must not leave an empty recording."""
        tls = server_tls(self.settings)
        self._client_door = self._doors.take(self.settings.listen, tls=tls)
        self._admin_door = self._doors.take(self.settings.admin_listen, option="--admin-listen")

    def _turned_away(self, why: str) -> None:
        self.numbers.refusals[why] += 1

    async def _dial_ahead(self) -> dict[str, Upstream]:
        identities = list(self.identities.values())
        outcomes = await asyncio.gather(*(identity.dial_ahead() for identity in identities))
        upstreams = dict(zip(self.identities, outcomes, strict=True))
        if all(outcome == "refused" for outcome in outcomes):
            fault = self.main.fault
            raise fault if fault is not None else NotAuthenticated("The credential was refused")
        for identity, outcome in zip(identities, outcomes, strict=True):
            if outcome == "refused":
                identity.tell_refusal()
        return upstreams

    # -- stopping ----------------------------------------------------------------------

    async def drain(self) -> None:
        """Take no new clients, let work under way finish, seal the recording, stop."""
        if self._draining:
            return
        self._draining = True
        self._clients.draining = True
        for identity in self.identities.values():
            identity.drain()
        log.info("relay.draining", clients=self.gauges().clients)
        # Clients that go on asking leave no moment in which nothing is open: in the end what is
        # new is refused, so that what was taken can be answered.
        last_s = min(LAST_S, self.settings.drain_s / 4)
        await self._wait_for(self._idle, self.settings.drain_s - last_s)
        for identity in self.identities.values():
            identity.take_no_more()
        await self._wait_for(self._idle, last_s)
        self._give_up_open()
        await self._wait_for(self._flushed, FLUSH_S)
        await self.stop()

    def _idle(self) -> bool:
        idle = all(identity.idle for identity in self.identities.values())
        return idle and (self.main.dedicated is None or self._quiet())

    def _quiet(self) -> bool:
        """Where nobody looks at what passes, only silence says that work is done."""
        total = self.numbers.messages_to_client + self.numbers.messages_to_upstream
        now = time.monotonic()
        if total != self._last_total:
            self._last_total, self._last_change = total, now
        return now - self._last_change >= QUIET_S

    def _give_up_open(self) -> None:
        """Who asked and will not be answered any more hears it, before the connection ends."""
        for session in self.sessions:
            session.give_up_open("the relay stopped")

    def _flushed(self) -> bool:
        return all(client.outbox.empty for client in self._clients.clients.values())

    async def _wait_for(self, condition: Callable[[], bool], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        # The conditions range over many objects and hold only while stopping: we look.
        while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(CHECK_S)

    async def stop(self) -> None:
        """Stop now: clients 1012, links closed, recording sealed. Safe to call again."""
        async with self._stop_turn:  # who comes meanwhile returns when it has stopped
            if self._stopped.is_set():
                return
            self._draining = True
            if hasattr(self, "_clients"):
                self._give_up_open()
                for client in list(self._clients.clients.values()):
                    client.close(CloseCode.SERVICE_RESTART, "the relay stops")
                await self._each(Identity.stop_pairs)
                await self._clients.close_taps()
                await self._wait_for(lambda: not self._clients.clients, 2.5)
            await self._each(Identity.stop)
            await self._doors.stop()
            await self._tasks.stop()
            self._loop_lag.stop()
            if self.recorder is not None:
                await self._end_recording(self.recorder)
            log.info("relay.stopped")
            self._stopped.set()

    async def _each(self, do: Callable[[Identity], Awaitable[None]]) -> None:
        await asyncio.gather(*(do(identity) for identity in self.identities.values()))

    async def wait_stopped(self) -> None:
        """Return when the relay has stopped, by a call or by itself."""
        await self._stopped.wait()

    async def _end_recording(self, recorder: Recorder) -> None:
        path = await asyncio.to_thread(recorder.close)
        if path is None or await asyncio.to_thread(is_sealed, path):
            log.info("recording.sealed", path=str(path))
        else:
            log.warning("recording.left_unclean", path=str(path), fault=recorder.fault)

    async def _watch_recorder(self) -> None:
        recorder, told = self.recorder, None
        while recorder is not None:
            await asyncio.sleep(HEALTH_CHECK_S)
            if recorder.fault == told:
                continue
            told = recorder.fault
            if told is None:
                continue  # it was begun again
            log.error("recording.failed", fault=told)
            if self._stop_on_recorder_fault:
                self.stopped_by = told
                # Not awaited here: stopping waits for this very task.
                self._shutdown = asyncio.get_running_loop().create_task(
                    self.drain(), name="drain after recorder fault"
                )
                return

    # -- what it says of itself --------------------------------------------------------

    @property
    def sessions(self) -> list[Session]:
        return [session for each in self.identities.values() for session in each.sessions]

    @property
    def pairs(self) -> list[Pair]:
        return [pair for each in self.identities.values() for pair in each.pairs]

    @property
    def local_clients(self) -> list[LocalClient]:
        """Those that share links; in `dedicated` mode there are none, but `pairs`."""
        return list(self._clients.clients.values())

    @property
    def watchers(self) -> int:
        """Programs that look on; our own trigger is none."""
        return len(self._taps) - (self.trigger is not None)

    @property
    def strangers(self) -> int:
        """Sockets that have not said yet what they want."""
        return self._doors.strangers

    @property
    def doors(self) -> Doors:
        return self._doors

    @property
    def draining(self) -> bool:
        return self._draining

    def why_down(self) -> str | None:
        """Why a link is not up, as the last fault says; None where all is well."""
        faults = (identity.fault for identity in self.identities.values())
        return next((self.clean(fault.message) for fault in faults if fault is not None), None)

    def gauges(self) -> RelayGauges:
        return measure(self)

    def _tap_dropped(self, count: int) -> None:
        self.numbers.tap_records_dropped += count

    def _tap_header(self) -> bytes:
        return encode_header(
            Header(
                recording=f"tap-{self.profile_name}",
                segment=1,
                started_at=self._witness.started_at.isoformat(timespec="microseconds").replace(
                    "+00:00", "Z"
                ),
                tool=f"megabot {self.version}",
                upstream=self.main.origin,
            )
        )


def _tell_unclean(recorder: Recorder) -> None:
    """Say what the relay before left, if it could not seal it."""
    if recorder.previous is None:
        return
    path = recorder.folder.parent / recorder.previous
    log.warning(
        "recording.found_unclean",
        path=str(path),
        meaning="the relay before was killed; the file reads, but for its last tenth of a second",
        hint=f"megabot recordings verify {shlex.quote(str(path.parent))}",
    )


async def _load_exposition() -> None:
    await asyncio.to_thread(importlib.import_module, "megabot_cli.telemetry.exposition")
