"""A real Prometheus that a test started, and what it answers."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.peers.programs import path_of
from tests.support.processes import Processes
from tests.telemetry.promql import CONFIG, RULES

# What they are for us; an operator's are some seconds.
INTERVALS = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}


class Prometheus:
    """The API of one that runs."""

    def __init__(self, port: int) -> None:
        self.api = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **query: str) -> Any:
        url = f"{self.api}/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  our own Prometheus
            return json.load(answer)["data"]

    def samples(self, expression: str) -> list[float]:
        found = self.ask("query", query=expression)["result"]
        return [float(each["value"][1]) for each in found]

    def firing(self, instance: str) -> dict[str, dict[str, Any]]:
        """The alerts of one instance that fire now, by name: their `labels`, `annotations`…"""
        return {
            alert["labels"]["alertname"]: alert
            for alert in self.ask("alerts")["alerts"]
            if alert["labels"].get("instance") == instance and alert["state"] == "firing"
        }

    def answers(self) -> bool:
        try:
            self.ask("query", query="1")
        except OSError:
            return False
        return True


@contextmanager
def running_prometheus(
    processes: Processes,
    folder: Path,
    port: int,
    targets: Sequence[dict[str, Any]],
    rule_files: Sequence[Path] = RULES,
) -> Iterator[Prometheus]:
    """One with our own configuration, but for `targets` (as in `static_configs`) and INTERVALS.

    It answers, and has scraped nothing yet: that takes it some five seconds.
    """
    configuration = yaml.safe_load((CONFIG / "prometheus" / "prometheus.yaml").read_text())
    configuration["global"] = INTERVALS
    configuration["rule_files"] = [str(path) for path in rule_files]
    configuration["scrape_configs"][0]["static_configs"] = list(targets)
    file = folder / "prometheus.yaml"
    file.write_text(json.dumps(configuration))  # JSON is YAML
    with processes.start(
        "prometheus",
        [
            path_of("prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    ) as process:
        prometheus = Prometheus(port)
        process.wait_for("Prometheus answers", prometheus.answers, 20)
        yield prometheus
