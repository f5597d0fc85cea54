"""A real Prometheus scrapes a real relay, and answers what the dashboard and the rules ask."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.peers.programs import needs
from tests.peers.prometheus import Prometheus, running_prometheus
from tests.peers.stage import Stage, chat_message
from tests.support.certificates import make_certificate
from tests.support.processes import running_processes, wait_until
from tests.telemetry.promql import CONFIG, RULES, rules

DASHBOARD = json.loads((CONFIG / "grafana" / "megabot-relay.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def instance_of(admin_url: str) -> str:
    return admin_url.removeprefix("http://")


@pytest.fixture
def prometheus(stage: Stage, tmp_path: Path, port: int) -> Iterator[Prometheus]:
    """One that scrapes the stage's relay."""
    targets = [{"targets": [instance_of(stage.admin_url)]}]
    with running_prometheus(stage.processes, tmp_path, port, targets) as prometheus:
        yield prometheus


def converse(stage: Stage, number: int) -> None:
    with connect(stage.relay_url) as client:
        client.recv(timeout=10)
        client.send(chat_message(f"m{number}", "one two three"))
        while json.loads(client.recv(timeout=10))["type"] != "chat_receive":
            pass


def as_grafana_sends(expression: str) -> str:
    for variable, value in (("$job", ".+"), ("$instance", ".+"), ("$__rate_interval", "1m")):
        expression = expression.replace(variable, value)
    return expression


@pytest.fixture
def prometheus_of_two(stage: Stage, tmp_path: Path, port: int) -> Iterator[Prometheus]:
    """One that scrapes a relay with TLS too."""
    shown = make_certificate(tmp_path, "127.0.0.1")
    settings = {
        "MEGABOT_URL": stage.gateway_url,
        "MEGABOT_API_KEY": stage.api_key,
        "MEGABOT_RELAY_TLS_CERT_FILE": str(shown.cert_file),
        "MEGABOT_RELAY_TLS_KEY_FILE": str(shown.key_file),
    }
    with running_processes(tmp_path / "home") as processes:
        free = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
        other = processes.megabot("relay", *free, env=settings).ready()
        targets = [{"targets": [instance_of(url) for url in (stage.admin_url, other["admin_url"])]}]
        with running_prometheus(processes, tmp_path, port, targets) as prometheus:
            yield prometheus


@needs("prometheus")
def test_every_query_of_the_dashboard_has_data(stage: Stage, prometheus_of_two: Prometheus) -> None:
    prometheus = prometheus_of_two
    unanswered = dict.fromkeys(map(as_grafana_sends, QUERIES))
    numbers = iter(range(1000))

    def all_answered() -> bool:
        converse(stage, next(numbers))
        for expression in list(unanswered):
            if prometheus.samples(expression):
                del unanswered[expression]
        return not unanswered

    wait_until(all_answered, "data for every query", 40, said=lambda: "\n".join(unanswered))
    here = f'{{instance="{instance_of(stage.admin_url)}"}}'
    p95 = f"histogram_quantile(0.95, rate(megabot_relay_reply_seconds_bucket{here}[1m]))"

    def replied_in() -> list[float]:
        """Not a number while none came between the scrapes of the last minute: one more then."""
        converse(stage, next(numbers))
        return [reply_s for reply_s in prometheus.samples(p95) if not math.isnan(reply_s)]

    (reply_s,) = wait_until(replied_in, "a 95th percentile of the replies", 20)
    assert 0 < reply_s < 30


@needs("prometheus")
def test_the_relay_is_scraped_without_a_fault_and_its_rules_are_evaluated(
    stage: Stage, prometheus: Prometheus
) -> None:
    def evaluated() -> Any:
        groups = prometheus.ask("rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if found and all(rule["health"] == "ok" for rule in found) else None

    found = wait_until(evaluated, "the rules are evaluated", 20)
    assert len(found) == sum(len(rules(path)) for path in RULES)
    firing = [rule["name"] for rule in found if rule.get("state") == "firing"]
    assert firing == [], "a relay that is well alarms nobody"
    wait_until(lambda: prometheus.samples("instance:megabot_relay_links_up:ratio"), "a link")

    def scraped() -> Any:
        """On a busy machine a scrape may take longer than it may, here: as long as between two."""
        (target,) = prometheus.ask("targets")["activeTargets"]
        return target if (target["health"], target["lastError"]) == ("up", "") else None

    assert stage.admin_url in wait_until(scraped, "a scrape without a fault")["scrapeUrl"]
