"""What a relay says of itself when somebody asks: plain facts, no secrets, no payloads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from megabot_cli.relay.flat_routing import told_id

if TYPE_CHECKING:
    from megabot_cli.errors import MegabotError
    from megabot_cli.relay.identity import Identity
    from megabot_cli.relay.local_client import LocalClient
    from megabot_cli.relay.pair import Pair
    from megabot_cli.relay.server import Relay
    from megabot_cli.relay.session import Session
    from megabot_cli.telemetry.metrics import RelayGauges

Facts = dict[str, Any]


def status(relay: Relay) -> Facts:
    """The relay as a whole; sizes in bytes, times in seconds, `started_at` in Unix seconds."""
    gauges, numbers = relay.gauges(), relay.numbers
    recorder = relay.recorder
    facts: Facts = {
        "version": relay.version,
        "profile": relay.profile_name,
        "mode": relay.settings.mode,
        "upstream": relay.main.origin,
        "url": relay.url,
        "admin_url": relay.admin_url,
        "started_at": round(relay.started_at, 3),
        "uptime_s": round(time.time() - relay.started_at, 3),
        "ready": gauges.ready,
        "draining": relay.draining,
        "links": dict(gauges.links),
        "clients": gauges.clients,
        "sessions": gauges.sessions,
        "taps": gauges.taps,
        "waiting_to_upstream": gauges.waiting_to_upstream,
        "outbox_bytes": gauges.outbox_bytes,
        "token_expires_at": gauges.token_expires_at,
        "certificate_ends_at": gauges.certificate and gauges.certificate[1],
        "messages": {
            "to_upstream": numbers.messages_to_upstream,
            "to_client": numbers.messages_to_client,
        },
        "bytes": {"to_upstream": numbers.bytes_to_upstream, "to_client": numbers.bytes_to_client},
        "deliveries": numbers.deliveries,
        "reconnects": numbers.reconnects,
        "refusals": dict(numbers.refusals + numbers.error_answers),
        "routes": dict(numbers.routes),
        "replies": _latency(numbers.reply_s.counts, numbers.reply_s.bounds),
        "first_chunks": _latency(numbers.first_chunk_s.counts, numbers.first_chunk_s.bounds),
        "slowest_replies": slowest_replies(relay),
    }
    if len(relay.identities) > 1:
        facts["profiles"] = profiles(relay, gauges)
    if (why := relay.why_down()) is not None:
        facts["fault"] = why
    if recorder is not None:
        facts["recording"] = {
            "folder": str(recorder.folder),
            "records": recorder.records_written,
            "bytes": recorder.bytes_written,
            "waiting": recorder.depth,
            "lag_s": round(recorder.lag_s, 3),
            "fault": recorder.fault,
        }
    if relay.flight is not None:
        facts["flight_recorder"] = {"records": len(relay.flight), "bytes": relay.flight.bytes}
        if relay.trigger is not None:
            facts["flight_recorder"]["trigger"] = relay.trigger.text
            facts["flight_recorder"]["hits"] = relay.trigger.hits
    return facts


def profiles(relay: Relay, now: RelayGauges) -> Facts:
    """Each profile by its name: where it goes, its links by state, and what keeps one down."""
    return {
        name: {
            "upstream": identity.origin,
            "sessions": len(identity.sessions),
            "links": dict(now.profiles[name].links),
            "fault": _told(identity.fault, relay.clean),
        }
        for name, identity in relay.identities.items()
    }


def slowest_replies(relay: Relay) -> list[Facts]:
    """The slowest of the last minute, the slowest first; `age_s` since the reply came."""
    now, clean = relay.main.parts.loop.time(), relay.clean
    return [
        {
            "took_s": round(each.took_s, 6),
            "type": clean(each.kind),
            "id": clean(told_id(each.id) or "") or None,
            "client": clean(each.client),
            "session": clean(each.session or "") or None,
            "age_s": round(now - each.at, 3),
        }
        for each in relay.numbers.slow_replies.slowest(now)
    ]


def clients(relay: Relay) -> list[Facts]:
    """Every client, the oldest first."""
    found = []
    for identity in relay.identities.values():
        found += [
            _client(client, session, identity, relay.clean)
            for session in identity.sessions
            for client in session.clients.values()
        ]
        found += [_pair(pair, identity, relay.clean) for pair in identity.pairs]
    return sorted(found, key=lambda facts: facts["connected_s"], reverse=True)


def sessions(relay: Relay) -> list[Facts]:
    """Every session with its link."""
    return [
        _session(session, identity, relay.clean)
        for identity in relay.identities.values()
        for session in identity.sessions
    ]


def _client(
    client: LocalClient, session: Session, identity: Identity, clean: Callable[[str], str]
) -> Facts:
    return {
        "id": client.id,
        "profile": identity.name,
        "name": clean(client.wishes.client_id or "") or None,
        "session": clean(session.session_id or "") or None,
        "link": session.link.id,
        "role": "executor" if client.wishes.executor else None,
        "connected_s": round(time.monotonic() - client.since, 3),
        "messages": {"to_upstream": client.sent, "to_client": client.outbox.offered},
        "outbox_bytes": client.outbox.waiting_bytes,
        "cursor": client.cursor,
    }


def _pair(pair: Pair, identity: Identity, clean: Callable[[str], str]) -> Facts:
    return {
        "id": pair.client_id,
        "profile": identity.name,
        "name": None,
        "session": clean(pair.session_id or "") or None,
        "link": pair.link_id,
        "role": None,
        "connected_s": round(time.monotonic() - pair.since, 3),
        "messages": {"to_upstream": pair.sent, "to_client": pair.received},
        "outbox_bytes": pair.waiting_bytes,
        "cursor": None,
    }


def _session(session: Session, identity: Identity, clean: Callable[[str], str]) -> Facts:
    life, fault = session.link.life, session.link.fault
    return {
        "session": clean(session.session_id or "") or None,
        "profile": identity.name,
        "link": session.link.id,
        "state": life.state.value,
        "clients": len(session.clients),
        "waiting": session.waiting,
        "requests": len(session.routing),
        "cursor": session.ring.cursor(),
        "kept": {"messages": len(session.ring), "bytes": session.ring.kept_bytes},
        "attempts": life.attempts,
        "fault": _told(fault, clean),
    }


def _told(fault: MegabotError | None, clean: Callable[[str], str]) -> str | None:
    return clean(fault.message) if fault is not None else None


def _latency(counts: list[int], bounds: tuple[float, ...]) -> Facts:
    """How many there were, and bounds that half and 95 of 100 stayed under, in seconds."""
    total = sum(counts)
    return {
        "count": total,
        "p50_s": _under(counts, bounds, 0.5),
        "p95_s": _under(counts, bounds, 0.95),
    }


def _under(counts: list[int], bounds: tuple[float, ...], share: float) -> float | None:
    wanted, seen = share * sum(counts), 0
    for count, bound in zip(counts, bounds, strict=False):
        seen += count
        if seen and seen >= wanted:
            return bound
    return None
