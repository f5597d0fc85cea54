"""The relay's numbers: plain integers while it works, metrics when somebody asks.

The message path adds to integers; `prometheus_client` sees them only at a scrape.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Histogram:
    """Counts of observations by size, and their sum."""

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

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
        self.deliveries = 0  # a message for three clients is one message and three deliveries
        self.malformed_to_upstream = 0
        self.malformed_to_client = 0
        self.invalid_to_upstream = 0
        self.clients_accepted = 0
        self.reconnects = 0
        self.dial_failures = 0
        self.rate_limit_waits = 0
        self.delivery_unknown = 0
        self.tap_records_dropped = 0
        self.batches = 0  # of messages that waited for the rate limit
        self.merged = 0  # messages that were joined or replaced for slow clients
        self.routes: Counter[str] = Counter()  # by how it was found whom a message concerns
        self.recoveries: Counter[str] = Counter()  # by what came of a client's cursor
        self.refusals: Counter[str] = Counter()  # by reason: a fixed set of words
        self.clients_closed: Counter[int] = Counter()  # by close code
        self.resumes: Counter[str] = Counter()  # by verdict
        self.reply_s = Histogram()
        self.first_chunk_s = Histogram()
        self.handshake_s = Histogram()

    def note(self, first_chunk_s: float | None, reply_s: float | None) -> None:
        """What an answer took, in seconds; None: not known, or told before."""
        if first_chunk_s is not None:
            self.first_chunk_s.observe(first_chunk_s)
        if reply_s is not None:
            self.reply_s.observe(reply_s)


class RelayGauges:
    """What is true at the moment of a scrape; the relay fills it in when asked."""

    def __init__(self) -> None:
        self.clients = 0
        self.sessions = 0
        self.links: Counter[str] = Counter()  # by state
        self.taps = 0
        self.waiting_to_upstream = 0
        self.outbox_bytes = 0
        self.ready = False
        self.started_at = 0.0  # Unix seconds
        self.token_expires_at: float | None = None
        self.tls_insecure = False
        self.recorder: RecorderGauges | None = None


class RecorderGauges:
    """The recorder's side of a scrape."""

    def __init__(
        self, records: int, written_bytes: int, depth: int, lag_s: float, gaps: int, healthy: bool
    ) -> None:
        self.records = records
        self.written_bytes = written_bytes
        self.depth = depth
        self.lag_s = lag_s
        self.gaps = gaps
        self.healthy = healthy


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"megabot_relay_{name}", help_text, value=value)


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(f"megabot_relay_{name}", help_text, value=value)


def _labelled(
    family: Callable[..., Metric], name: str, help_text: str, label: str, values: dict[str, float]
) -> Metric:
    metric = family(f"megabot_relay_{name}", help_text, labels=[label])
    for key in sorted(values):
        metric.add_metric([key], values[key])  # type: ignore[attr-defined]
    return metric


def _histogram(name: str, help_text: str, histogram: Histogram) -> Metric:
    metric = HistogramMetricFamily(f"megabot_relay_{name}", help_text)
    metric.add_metric([], histogram.buckets(), histogram.sum)
    return metric


class RelayCollector(Collector):
    """Turns the numbers into metrics, in base units and with bounded labels."""

    def __init__(
        self, numbers: RelayNumbers, gauges: Callable[[], RelayGauges], version: str
    ) -> None:
        self._numbers = numbers
        self._gauges = gauges
        self._version = version

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "megabot_relay_build", "The relay's version.", value={"version": self._version}
        )
        yield from self._traffic()
        yield from self._events()
        yield from self._state(self._gauges())

    def _traffic(self) -> Iterator[Metric]:
        numbers = self._numbers
        counter = CounterMetricFamily
        directions = ("to_upstream", "to_client")
        yield _labelled(
            counter,
            "messages",
            "Messages that passed, once each.",
            "direction",
            {way: getattr(numbers, f"messages_{way}") for way in directions},
        )
        yield _labelled(
            counter,
            "bytes",
            "Bytes of those messages.",
            "direction",
            {way: getattr(numbers, f"bytes_{way}") for way in directions},
        )
        yield _labelled(
            counter,
            "malformed",
            "Messages that are no envelope; they pass unchanged.",
            "direction",
            {way: getattr(numbers, f"malformed_{way}") for way in directions},
        )
        yield _counter("deliveries", "Messages handed to clients.", numbers.deliveries)
        yield _counter(
            "invalid",
            "Clients' messages that break the specification.",
            numbers.invalid_to_upstream,
        )
        yield _histogram("reply_seconds", "From a request to its whole answer.", numbers.reply_s)
        yield _histogram(
            "first_chunk_seconds", "From a request to its first chunk.", numbers.first_chunk_s
        )
        yield _histogram("handshake_seconds", "From dial to greeting.", numbers.handshake_s)

    def _events(self) -> Iterator[Metric]:
        numbers = self._numbers
        counter = CounterMetricFamily
        yield _counter("clients_accepted", "Clients let in.", numbers.clients_accepted)
        yield _counter("reconnects", "Links that came back.", numbers.reconnects)
        yield _counter("dial_failures", "Dials that failed.", numbers.dial_failures)
        yield _counter(
            "rate_limit_waits", "Messages that waited for the rate limit.", numbers.rate_limit_waits
        )
        yield _counter(
            "delivery_unknown",
            "Requests written before a link fell and never answered.",
            numbers.delivery_unknown,
        )
        yield _counter(
            "tap_records_dropped", "Records a slow tap missed.", numbers.tap_records_dropped
        )
        yield _counter("batches", "Batches of messages that waited.", numbers.batches)
        yield _counter("merged", "Messages joined or replaced for slow clients.", numbers.merged)
        yield _labelled(
            counter,
            "routes",
            "Messages from upstream by how it was found whom they concern.",
            "route",
            dict(numbers.routes),
        )
        yield _labelled(
            counter,
            "recoveries",
            "Clients that came back, by what came of it.",
            "outcome",
            dict(numbers.recoveries),
        )
        yield _labelled(counter, "refusals", "What was refused.", "reason", dict(numbers.refusals))
        closed = {str(code): float(count) for code, count in numbers.clients_closed.items()}
        yield _labelled(counter, "clients_closed", "Clients gone.", "code", closed)
        yield _labelled(
            counter, "resumes", "What came of a resume.", "verdict", dict(numbers.resumes)
        )

    def _state(self, now: RelayGauges) -> Iterator[Metric]:
        yield _gauge("clients", "Clients connected.", now.clients)
        yield _gauge("sessions", "Sessions held.", now.sessions)
        yield _labelled(GaugeMetricFamily, "links", "Links by state.", "state", dict(now.links))
        yield _gauge("taps", "Taps watching.", now.taps)
        yield _gauge("upstream_queue", "Messages waiting to go up.", now.waiting_to_upstream)
        yield _gauge("outbox_bytes", "Bytes waiting for slow clients.", now.outbox_bytes)
        yield _gauge("ready", "1 while /readyz says yes.", now.ready)
        yield _gauge("start_time_seconds", "When the relay started.", now.started_at)
        yield _gauge("tls_insecure", "1 when certificates are not verified.", now.tls_insecure)
        if now.token_expires_at is not None:
            yield _gauge("token_expiry_seconds", "When the token expires.", now.token_expires_at)
        if now.recorder is not None:
            yield from self._recorder(now.recorder)

    def _recorder(self, recorder: RecorderGauges) -> Iterator[Metric]:
        yield _counter("recorder_records", "Records written.", recorder.records)
        yield _counter("recorder_bytes", "Bytes written.", recorder.written_bytes)
        yield _counter("recorder_gaps", "Times records had to be dropped.", recorder.gaps)
        yield _gauge("recorder_depth", "Records waiting for the writer.", recorder.depth)
        yield _gauge("recorder_lag_seconds", "Age of the oldest of them.", recorder.lag_s)
        yield _gauge("recorder_healthy", "0 when nothing more is recorded.", recorder.healthy)


def exposition(collector: RelayCollector) -> bytes:
    """The text that /metrics answers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)
