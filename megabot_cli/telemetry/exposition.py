"""What `/metrics` answers: the relay's numbers as metrics, made when somebody scrapes.

Names end in their unit, counters in `_total`; every label has a fixed list of values, and
each of them is there from the start, so that a rule need not guess what an absent one means.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from megabot_cli.protocol.close_codes import MEANING
from megabot_cli.protocol.messages import MESSAGE_TYPES
from megabot_cli.telemetry.metrics import (
    NO_ENVELOPE,
    OTHER,
    Histogram,
    RecorderGauges,
    RelayGauges,
    RelayNumbers,
)

_PREFIX = "megabot_relay_"

# Every value that a label may have. What is not here counts as `other`.
WORDS: Mapping[str, tuple[str, ...]] = {
    "direction": ("to_upstream", "to_client"),
    "type": (*MESSAGE_TYPES, NO_ENVELOPE),
    "state": (
        "idle",
        "authenticating",
        "connecting",
        "resuming",
        "up",
        "backing_off",
        "failed",
        "draining",
    ),
    "verdict": ("fresh", "resumed", "new_session", "unknown"),
    "route": ("exact", "key", "fifo", "broadcast", "late"),
    "recovery": ("recovered", "unknown", "too_old", "other_epoch", "ahead", "not_a_cursor"),
    "renewal": ("renewed", "refused", "failed"),
    "claim": ("first", "again", "not_yours", "unknown", "left", "given_back", "given_again"),
    "drop": ("upstream_away", "not_utf8", "duplicate", "rate_limit", "slow_client", "batch"),
    "refusal": (
        "client_id",
        "crowded",
        "deadline",
        "draining",
        "full",
        "header",
        "host",
        "origin",
        "peer",
        "token",
        "unknown_profile",
        "upgrade",
        "upstream",
        "wanted",
    ),
    "error": (
        "already_answered",
        "authentication_failed",
        "delivery_unknown",
        "invalid_message",
        "message_too_large",
        "not_the_executor",
        "rate_limited",
        "upstream_unavailable",
    ),
    "fault": (
        "bad_data",
        "connection_lost",
        "could_not_connect",
        "not_authenticated",
        "not_permitted",
        "rate_limited",
        "timeout",
        "upstream_error",
    ),
    "code": tuple(str(code) for code in MEANING),
}


class RelayCollector(Collector):
    """Turns the numbers into metrics, in base units and with bounded labels."""

    def __init__(
        self, numbers: RelayNumbers, gauges: Callable[[], RelayGauges], version: str
    ) -> None:
        self._numbers = numbers
        self._gauges = gauges
        self._version = version

    def collect(self) -> Iterator[Metric]:
        now = self._gauges()
        yield _build(self._version)
        yield from _messages(self._numbers)
        yield from _latencies(self._numbers)
        yield from _routing(self._numbers, now)
        yield from _clients(self._numbers, now)
        yield from _links(self._numbers, now)
        yield from _credentials(self._numbers, now)
        yield from _memory(now)
        yield from _process(self._numbers, now)
        yield from _certificate(now)
        if now.recorder is not None:
            yield from _recorder(now.recorder)


def exposition(collector: Collector) -> bytes:
    """The text that /metrics answers: the relay's metrics and those of its process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, help_text, value=value)


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, help_text, value=value)


def _counters(
    name: str, help_text: str, label: str, counts: Mapping[str, float], words: str | None = None
) -> Metric:
    """A counter with one label; `words` names the list of its values, if it is not `label`."""
    metric = CounterMetricFamily(_PREFIX + name, help_text, labels=[label])
    for value, count in _bounded(counts, WORDS[words or label]):
        metric.add_metric([value], count)
    return metric


def _bounded(counts: Mapping[str, float], words: Iterable[str]) -> Iterator[tuple[str, float]]:
    known = dict.fromkeys(words, 0.0)
    rest = 0.0
    for word, count in counts.items():
        if word in known:
            known[word] += count
        else:
            rest += count
    yield from known.items()
    yield OTHER, rest


def _each_way(name: str, help_text: str, to_upstream: float, to_client: float) -> Metric:
    metric = CounterMetricFamily(_PREFIX + name, help_text, labels=["direction"])
    metric.add_metric(["to_upstream"], to_upstream)
    metric.add_metric(["to_client"], to_client)
    return metric


def _histogram(name: str, help_text: str, histogram: Histogram) -> Metric:
    metric = HistogramMetricFamily(_PREFIX + name, help_text)
    metric.add_metric([], histogram.buckets(), histogram.sum)
    return metric


@cache
def _versions() -> dict[str, str]:
    # Looked up at the first scrape: the package's metadata is a file.
    from importlib.metadata import version

    return {"python": platform.python_version(), "aiohttp": version("aiohttp")}


def _build(version: str) -> Metric:
    loop = "uvloop" if "uvloop" in sys.modules else "asyncio"
    facts = {"version": version, "loop": loop, **_versions()}
    return InfoMetricFamily(_PREFIX + "build", "What runs: 1, with the versions as labels.", facts)


def _messages(numbers: RelayNumbers) -> Iterator[Metric]:
    yield _each_way(
        "messages",
        "Messages that came from clients or from upstream, once each; what was refused or lost "
        "is in them, and counted by error_answers and dropped_messages.",
        numbers.messages_to_upstream,
        numbers.messages_to_client,
    )
    yield _each_way(
        "bytes",
        "Bytes of the messages that came.",
        numbers.bytes_to_upstream,
        numbers.bytes_to_client,
    )
    yield _types(numbers)
    yield _each_way(
        "malformed",
        "Messages that are no envelope; they pass unchanged unless they are no UTF-8.",
        numbers.malformed_to_upstream,
        numbers.malformed_to_client,
    )
    yield _counter("deliveries", "Messages handed to clients.", numbers.deliveries)
    yield _counter(
        "invalid", "Clients' messages that break the specification.", numbers.invalid_to_upstream
    )
    yield _counters(
        "error_answers",
        "Errors that the relay itself answered to clients, by their word.",
        "error",
        numbers.error_answers,
    )
    yield _counters(
        "dropped_messages",
        "Messages that went no further, by reason; a client's own is told to it.",
        "reason",
        numbers.drops,
        "drop",
    )
    yield _counter(
        "delivery_unknown",
        "Requests written before a link fell or the relay stopped, and never answered.",
        numbers.delivery_unknown,
    )


def _types(numbers: RelayNumbers) -> Metric:
    metric = CounterMetricFamily(
        _PREFIX + "typed_messages",
        "Messages that came, by type; none: no envelope, other: a type that the specification does "
        "not name. In dedicated mode only what is recorded, validated or tapped is looked at.",
        labels=["direction", "type"],
    )
    ways = {"to_upstream": numbers.types_to_upstream, "to_client": numbers.types_to_client}
    for direction, counts in ways.items():
        for kind, count in counts.items():
            metric.add_metric([direction, kind or NO_ENVELOPE], count)
    return metric


def _latencies(numbers: RelayNumbers) -> Iterator[Metric]:
    yield _histogram(
        "forward_seconds",
        "From a client's message to its writing upstream, waiting included; "
        "the oldest of each write. Not known in dedicated mode.",
        numbers.forward_s,
    )
    yield _histogram("reply_seconds", "From a request to its whole answer.", numbers.reply_s)
    yield _histogram(
        "first_chunk_seconds", "From a request to its first chunk.", numbers.first_chunk_s
    )
    yield _histogram(
        "handshake_seconds", "From dial to greeting, of dials that succeeded.", numbers.handshake_s
    )
    yield _histogram(
        "event_loop_lag_seconds",
        "How late a timer of the event loop came, looked at every half second; "
        "each look that it missed is one more.",
        numbers.loop_lag_s,
    )


def _routing(numbers: RelayNumbers, now: RelayGauges) -> Iterator[Metric]:
    yield _counters(
        "routes",
        "Messages from upstream by how it was found whom they concern, while there are requests. "
        "In dedicated mode only of what is looked at, and for no other use.",
        "route",
        numbers.routes,
    )
    yield _gauge("requests", "Requests that have no answer yet.", now.requests)
    yield _gauge("tool_calls", "Tool calls that have no result yet.", now.tool_calls)
    yield _counters(
        "tool_results",
        "Clients' tool results by their claim; only the first of a call and unknown ones go up. "
        "left: the executor went before it answered. given_back: of the first ones those that did "
        "not go up after all; the call is open again. given_again: once more, to "
        "an upstream that had lost it with its link and asked again.",
        "claim",
        numbers.tool_results,
    )


def _clients(numbers: RelayNumbers, now: RelayGauges) -> Iterator[Metric]:
    yield _gauge("clients", "Clients connected.", now.clients)
    yield _gauge("executors", "Clients that carry out tool calls.", now.executors)
    yield _gauge(
        "clients_behind", "Clients with more to receive than they take.", now.clients_behind
    )
    yield _gauge("strangers", "Sockets that have not sent a whole request yet.", now.strangers)
    yield _counter("clients_accepted", "Clients let in.", numbers.clients_accepted)
    closed = _coded("clients_closed", "Clients gone, by close code.", numbers.clients_closed)
    yield closed
    yield _counters(
        "refusals",
        "Connections and requests refused, by reason.",
        "reason",
        numbers.refusals,
        "refusal",
    )
    yield _counters(
        "recoveries",
        "Clients that came back with a cursor or their name, by what came of it.",
        "outcome",
        numbers.recoveries,
        "recovery",
    )
    yield _gauge("outbox_messages", "Messages waiting for slow clients.", now.outbox_messages)
    yield _gauge("outbox_bytes", "Bytes waiting for slow clients.", now.outbox_bytes)
    yield _counter("merged", "Messages joined or replaced for slow clients.", numbers.merged)
    yield _gauge("taps", "Taps watching.", now.taps)
    yield _counter("tap_records_dropped", "Records a slow tap missed.", numbers.tap_records_dropped)


def _coded(name: str, help_text: str, counts: Mapping[int, int]) -> Metric:
    return _counters(name, help_text, "code", {str(code): n for code, n in counts.items()})


def _links(numbers: RelayNumbers, now: RelayGauges) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        _PREFIX + "links", "Links by profile and state.", labels=["profile", "state"]
    )
    for name, profile in now.profiles.items():
        for state in WORDS["state"]:
            states.add_metric([name, state], profile.links.get(state, 0))
    yield states
    yield _gauge("sessions", "Sessions held.", now.sessions)
    yield _counter("dials", "Attempts to connect to the upstream.", numbers.dials)
    yield _counters(
        "dial_failures", "Dials that failed, by fault.", "fault", numbers.dial_faults, "fault"
    )
    yield _coded("link_losses", "Links that fell, by close code.", numbers.link_losses)
    yield _counter("reconnects", "Links that came back.", numbers.reconnects)
    yield _counters(
        "resumes", "What became of the session when a link came up.", "verdict", numbers.resumes
    )
    yield _counter(
        "link_up_seconds",
        "Time that links were up, all together.",
        numbers.link_up_s + now.link_up_s,
    )
    yield _gauge("upstream_queue_messages", "Messages waiting to go up.", now.waiting_to_upstream)
    yield _gauge("upstream_queue_bytes", "Bytes waiting to go up.", now.waiting_bytes)
    yield _counter(
        "rate_limit_waits", "Messages that waited for the rate limit.", numbers.rate_limit_waits
    )
    yield _counter(
        "upstream_rate_limits",
        "Times the upstream said that too much came; the link sends more slowly for a while.",
        numbers.upstream_rate_limits,
    )
    yield _counter("batches", "Batches of messages that waited.", numbers.batches)


def _credentials(numbers: RelayNumbers, now: RelayGauges) -> Iterator[Metric]:
    yield _counters(
        "auth_refreshes",
        "Renewals of a credential, by outcome; failed: the upstream could not be asked.",
        "outcome",
        numbers.auth_refreshes,
        "renewal",
    )
    each = now.profiles.items()
    yield _by_profile(
        "token_obtained_timestamp_seconds",
        "When the relay got the token it uses, Unix time.",
        {name: profile.token_obtained_at for name, profile in each},
    )
    yield _by_profile(
        "token_expiry_timestamp_seconds",
        "When the token expires, Unix time; absent where it does not say.",
        {name: profile.token_expires_at for name, profile in each},
    )
    yield _by_profile(
        "token_renewable",
        "1 when the relay can renew the credential, 0 when somebody must log in or it lasts.",
        {name: profile.token_renewable for name, profile in each},
    )
    yield _by_profile(
        "tls_insecure",
        "1 when the upstream's certificate is not verified.",
        {name: profile.tls_insecure for name, profile in each},
    )


def _by_profile(name: str, help_text: str, values: Mapping[str, float | None]) -> Metric:
    """One series for each profile of the configuration that has a value."""
    metric = GaugeMetricFamily(_PREFIX + name, help_text, labels=["profile"])
    for profile, value in values.items():
        if value is not None:
            metric.add_metric([profile], value)
    return metric


def _memory(now: RelayGauges) -> Iterator[Metric]:
    yield _gauge("ring_messages", "Messages kept for clients that come back.", now.ring_messages)
    yield _gauge("ring_bytes", "Bytes kept for clients that come back.", now.ring_bytes)
    yield _gauge("flight_recorder_records", "Records in the flight recorder.", now.flight_records)
    yield _gauge("flight_recorder_bytes", "Bytes in the flight recorder.", now.flight_bytes)


def _process(numbers: RelayNumbers, now: RelayGauges) -> Iterator[Metric]:
    yield _gauge("ready", "1 while /readyz says yes.", now.ready)
    yield _gauge("draining", "1 while the relay stops.", now.draining)
    yield _gauge("start_time_seconds", "When the relay started, Unix time.", now.started_at)
    yield _gauge("tasks", "Tasks of the event loop: a few for each link and client.", now.tasks)


def _certificate(now: RelayGauges) -> Iterator[Metric]:
    if now.certificate is not None:
        starts_at, ends_at = now.certificate
        yield _gauge(
            "tls_certificate_end_timestamp_seconds",
            "When the certificate ends that clients are shown, or the first in its chain, Unix "
            "time; absent without TLS. Read at the start and at each reload.",
            ends_at,
        )
        start = "tls_certificate_start_timestamp_seconds"
        yield _gauge(start, "When that certificate began to hold, Unix time.", starts_at)


def _recorder(recorder: RecorderGauges) -> Iterator[Metric]:
    yield _counter("recorder_records", "Records written to the recording.", recorder.records)
    yield _counter("recorder_bytes", "Bytes written to the recording.", recorder.written_bytes)
    yield _counter("recorder_segments", "Files of the recording begun.", recorder.segments)
    yield _counter(
        "recorder_redactions", "Secrets replaced before they were written.", recorder.redactions
    )
    yield _gauge("recorder_queue_records", "Records waiting for the writer.", recorder.depth)
    yield _gauge("recorder_queue_bytes", "Bytes waiting for the writer.", recorder.depth_bytes)
    yield _gauge("recorder_lag_seconds", "Age of the oldest record waiting.", recorder.lag_s)
    yield _counter("recorder_blocks", "Times readers had to wait for the writer.", recorder.blocks)
    yield _counter("recorder_gaps", "Times records were left out under pressure.", recorder.gaps)
    yield _counter("recorder_lost_records", "Records left out under pressure.", recorder.lost)
    yield _counter("recorder_lost_bytes", "Bytes left out under pressure.", recorder.lost_bytes)
    yield _counter(
        "recorder_dropped_records", "Records thrown away after a fault.", recorder.dropped
    )
    yield _gauge("recorder_healthy", "0 when nothing more is recorded.", recorder.healthy)
    yield _gauge(
        "recorder_disk_full",
        "1 when nothing is recorded because the disk is full.",
        recorder.disk_full,
    )
