"""The relay's numbers: plain integers while it works; `exposition` makes metrics of them."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter

import msgspec

from megabot_cli.protocol.messages import MESSAGE_TYPES
from megabot_cli.telemetry.slow_replies import SlowReplies

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

OTHER = "other"  # the label of whatever is not on a fixed list
NO_ENVELOPE = "none"  # the label of messages without a type


class Histogram:
    """Counts of observations by size, and their sum."""

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: list[float]) -> None:
        counts, bounds = self.counts, self.bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.sum += sum(values)

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as the exposition format wants them."""
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        totals = itertools.accumulate(self.counts)
        return [(name, float(total)) for name, total in zip(names, totals, strict=True)]


class RelayNumbers:
    """Everything the relay counts. Only the event loop's thread writes here."""

    def __init__(self) -> None:
        self.messages_to_upstream = 0
        self.messages_to_client = 0
        self.bytes_to_upstream = 0
        self.bytes_to_client = 0
        # By type, from a fixed list: what a peer writes must not make a series of its own.
        self.types_to_upstream = _by_type()
        self.types_to_client = _by_type()
        self.deliveries = 0  # a message for three clients is one message and three deliveries
        self.malformed_to_upstream = 0
        self.malformed_to_client = 0
        self.invalid_to_upstream = 0
        self.clients_accepted = 0
        self.reconnects = 0
        self.dials = 0
        self.dial_faults: Counter[str] = Counter()  # by the code of our error
        self.link_losses: Counter[int] = Counter()  # by close code
        self.link_up_s = 0.0  # of links that have fallen
        self.auth_refreshes: Counter[str] = Counter()  # by outcome
        self.rate_limit_waits = 0
        self.upstream_rate_limits = 0
        self.delivery_unknown = 0
        self.tap_records_dropped = 0
        self.batches = 0  # of messages that waited for the rate limit
        self.merged = 0  # messages that were joined or replaced for slow clients
        self.drops: Counter[str] = Counter()  # messages that went no further, by reason
        self.routes: Counter[str] = Counter()  # by how it was found whom a message concerns
        self.recoveries: Counter[str] = Counter()  # by what came of a client's cursor
        self.refusals: Counter[str] = Counter()  # of connections and requests: a fixed set of words
        self.error_answers: Counter[str] = Counter()  # the relay's own, by word
        self.tool_results: Counter[str] = Counter()  # by what the claim to have answered was
        self.clients_closed: Counter[int] = Counter()  # by close code
        self.resumes: Counter[str] = Counter()  # by verdict
        self.forward_s = Histogram()
        self.reply_s = Histogram()
        self.first_chunk_s = Histogram()
        self.handshake_s = Histogram()
        self.loop_lag_s = Histogram()
        self.slow_replies = SlowReplies()

    @property
    def dial_failures(self) -> int:
        return self.dial_faults.total()

    def note(self, first_chunk_s: float | None, reply_s: float | None) -> None:
        """What an answer took, in seconds; None: not known, or told before."""
        if first_chunk_s is not None:
            self.first_chunk_s.observe(first_chunk_s)
        if reply_s is not None:
            self.reply_s.observe(reply_s)


def _by_type() -> dict[str | None, int]:
    return dict.fromkeys((*MESSAGE_TYPES, OTHER, None), 0)


class RelayGauges:
    """What is true at the moment of a scrape; the relay fills it in when asked."""

    def __init__(self) -> None:
        self.clients = 0
        self.clients_behind = 0  # with more to receive than their socket takes
        self.executors = 0
        self.strangers = 0  # sockets that have not said yet what they want
        self.sessions = 0
        self.links: Counter[str] = Counter()  # by state
        self.link_up_s = 0.0  # of links that are up
        self.requests = 0  # that have no answer yet
        self.tool_calls = 0  # that have no result yet
        self.tasks = 0
        self.taps = 0
        self.waiting_to_upstream = 0
        self.waiting_bytes = 0
        self.outbox_messages = 0
        self.outbox_bytes = 0
        self.ring_messages = 0
        self.ring_bytes = 0
        self.flight_records = 0
        self.flight_bytes = 0
        self.ready = False
        self.draining = False
        self.started_at = 0.0  # Unix seconds
        # When the one that clients are shown starts and ends, Unix seconds; None without TLS.
        self.certificate: tuple[float, float] | None = None
        self.profiles: dict[str, ProfileGauges] = {}
        self.recorder: RecorderGauges | None = None

    @property
    def token_expires_at(self) -> float | None:
        """When the first of the tokens ends; None where none says."""
        ends = [each.token_expires_at for each in self.profiles.values()]
        return min((at for at in ends if at is not None), default=None)


class ProfileGauges(msgspec.Struct, kw_only=True):
    """One identity at a scrape; times in Unix seconds."""

    token_obtained_at: float | None
    token_expires_at: float | None
    token_renewable: bool
    tls_insecure: bool
    links: Counter[str] = msgspec.field(default_factory=Counter)  # by state


class RecorderGauges(msgspec.Struct, frozen=True, kw_only=True):
    """The recorder's side of a scrape. `lost` fell into gaps, `dropped` came after a fault."""

    records: int
    written_bytes: int
    segments: int
    redactions: int
    depth: int
    depth_bytes: int
    lag_s: float
    blocks: int
    gaps: int
    lost: int
    lost_bytes: int
    dropped: int
    healthy: bool
    disk_full: bool


def example_gauges() -> RelayGauges:
    """A relay of one profile that records and has TLS, at rest: so a scrape has every metric."""
    now = RelayGauges()
    now.certificate = (0.0, 0.0)
    now.profiles["default"] = ProfileGauges(
        token_obtained_at=0.0, token_expires_at=0.0, token_renewable=True, tls_insecure=False
    )
    now.recorder = RecorderGauges(
        records=0,
        written_bytes=0,
        segments=1,
        redactions=0,
        depth=0,
        depth_bytes=0,
        lag_s=0.0,
        blocks=0,
        gaps=0,
        lost=0,
        lost_bytes=0,
        dropped=0,
        healthy=True,
        disk_full=False,
    )
    return now
