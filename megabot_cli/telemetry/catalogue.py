"""Every metric that a relay can show, for its manual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from megabot_cli.telemetry.exposition import RelayCollector
from megabot_cli.telemetry.metrics import RelayNumbers, example_gauges

if TYPE_CHECKING:
    from prometheus_client import Metric

_SUFFIXES = {"counter": "_total", "info": "_info"}


class Described(msgspec.Struct, frozen=True):
    """A metric by its name in a scrape; `labels` has those whose values are fixed."""

    name: str
    kind: str
    meaning: str
    labels: dict[str, list[str]]


def catalogue() -> list[Described]:
    """All of them by name, from the collector that answers a scrape."""
    collector = RelayCollector(RelayNumbers(), example_gauges, "")
    metrics = sorted(collector.collect(), key=lambda metric: metric.name)
    return [_describe(metric) for metric in metrics]


def _describe(metric: Metric) -> Described:
    kind = "gauge" if metric.type == "info" else metric.type
    name = metric.name + _SUFFIXES.get(metric.type, "")
    return Described(name, kind, metric.documentation, _labels(metric))


def _labels(metric: Metric) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    if metric.type in ("histogram", "info"):
        return {}
    for sample in metric.samples:
        for label, value in sample.labels.items():
            found.setdefault(label, {})[value] = None
    # Profiles are the configuration's own.
    return {label: list(values) for label, values in found.items() if label != "profile"}
