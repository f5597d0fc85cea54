"""What is true of a relay now, counted when somebody asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from megabot_cli.telemetry.metrics import ProfileGauges, RecorderGauges, RelayGauges

if TYPE_CHECKING:
    from megabot_cli.relay.identity import Identity
    from megabot_cli.relay.pair import Pair
    from megabot_cli.relay.server import Relay
    from megabot_cli.relay.session import Session
    from megabot_cli.storage.recorder import Recorder


def measure(relay: Relay) -> RelayGauges:
    """Walks over sessions and clients: for a scrape, never for a message."""
    now = RelayGauges()
    now.started_at = relay.started_at
    now.draining = relay.draining
    now.tasks = len(asyncio.all_tasks())
    now.taps, now.strangers = relay.watchers, relay.strangers
    if (certificate := relay.doors.certificate) is not None:
        now.certificate = certificate.starts_at, certificate.ends_at
    for identity in relay.identities.values():
        _add_identity(now, identity)
    for client in relay.local_clients:
        now.clients += 1
        now.executors += client.wishes.executor
        now.clients_behind += client.outbox.waiting_messages > 0
        now.outbox_messages += client.outbox.waiting_messages
        now.outbox_bytes += client.outbox.waiting_bytes
    # Without any link nothing is known to be wrong: the next client makes one.
    now.ready = not relay.draining and (not now.links or now.links["up"] > 0)
    if relay.flight is not None:
        now.flight_records, now.flight_bytes = len(relay.flight), relay.flight.bytes
    if relay.recorder is not None:
        now.recorder = _recorder(relay.recorder)
    return now


def _add_identity(now: RelayGauges, identity: Identity) -> None:
    tokens = identity.parts.tokens
    here = now.profiles[identity.name] = ProfileGauges(
        token_obtained_at=tokens.obtained_at,
        token_expires_at=tokens.expires_at,
        token_renewable=tokens.renewable,
        tls_insecure=identity.tls_insecure,
    )
    for session in identity.sessions:
        here.links[session.link.life.state.value] += 1
        _add_session(now, session)
    for pair in identity.pairs:
        here.links["up"] += 1
        _add_pair(now, pair)
    now.links += here.links


def _add_pair(now: RelayGauges, pair: Pair) -> None:
    now.clients += 1
    now.link_up_s += pair.connected_s
    now.requests += pair.requests
    now.waiting_to_upstream += pair.waiting
    now.outbox_bytes += pair.waiting_bytes


def _add_session(now: RelayGauges, session: Session) -> None:
    link = session.link
    now.sessions += 1
    now.link_up_s += link.up_s
    now.requests += len(session.routing)
    now.tool_calls += session.tool_calls
    now.waiting_to_upstream += session.waiting
    now.waiting_bytes += session.waiting_bytes
    now.ring_messages += len(session.ring)
    now.ring_bytes += session.ring.kept_bytes


def _recorder(recorder: Recorder) -> RecorderGauges:
    return RecorderGauges(
        records=recorder.records_written,
        written_bytes=recorder.bytes_written,
        segments=recorder.segments,
        redactions=recorder.redactions,
        depth=recorder.depth,
        depth_bytes=recorder.depth_bytes,
        lag_s=recorder.lag_s,
        blocks=recorder.blocks,
        gaps=recorder.gaps,
        lost=recorder.lost,
        lost_bytes=recorder.lost_bytes,
        dropped=recorder.dropped,
        healthy=recorder.healthy,
        disk_full=recorder.disk_full,
    )
