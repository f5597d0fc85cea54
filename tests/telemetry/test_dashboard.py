"""The Grafana dashboard can be imported, and every panel asks for what a scrape has."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from megabot_cli.telemetry.exposition import RelayCollector
from megabot_cli.telemetry.metrics import RelayNumbers, example_gauges
from tests.telemetry.promql import CONFIG, metrics_in, problems, series_of
from tests.telemetry.test_exposition import scrape
from tests.telemetry.test_rules import promtool

DASHBOARD: dict[str, Any] = json.loads(
    (CONFIG / "grafana" / "megabot-relay.json").read_text(encoding="utf-8")
)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in GRAPHS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    place = panel["gridPos"]
    return {
        (x, y)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    }


def test_it_is_a_dashboard_that_grafana_imports() -> None:
    assert DASHBOARD["id"] is None, "an id belongs to one Grafana"
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", DASHBOARD["uid"])
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["time"].keys() == {"from", "to"}
    required = {need["id"] for need in DASHBOARD["__requires"]}
    assert required == {"grafana", "prometheus"} | {panel["type"] for panel in GRAPHS}


def test_rows_follow_the_way_one_looks_for_a_fault() -> None:
    titles = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert titles == [
        "Overview", "Links", "Clients", "Messages", "Latency", "Recorder", "Refusals", "Process",
    ]  # fmt: skip


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert max(Counter(panel["id"] for panel in PANELS).values()) == 1
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24, panel["title"]
    taken = [(panel["title"], cells(panel)) for panel in PANELS]
    for (one, first), (other, second) in combinations(taken, 2):
        assert not first & second, f"{one} lies over {other}"


@pytest.mark.parametrize("panel", GRAPHS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 10
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references) > 0
    assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize(("title", "expression"), QUERIES)
def test_a_query_asks_for_what_a_scrape_has(title: str, expression: str) -> None:
    assert problems(expression, series_of(scrape())) == []
    selectors = re.findall(r"\{(.*?)\}", expression)
    assert selectors, title
    assert all('instance=~"$instance"' in each and 'job=~"$job"' in each for each in selectors)


@pytest.mark.parametrize(
    ("expiries", "is_red"),
    [
        ("20 20 39 58 58 77 96 96 115 134 134", False),  # renewed after 19 s, scraped every 13 s
        ("20x10", True),
        ("3600x10", False),
    ],
)
def test_a_token_is_red_once_it_has_ended_and_was_not_renewed(
    tmp_path: Path, expiries: str, is_red: bool
) -> None:
    """However short it lives: what a scrape says is held against the time of the scrape."""
    (panel,) = (each for each in GRAPHS if each["title"] == "Token ends in")
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["color"] for step in steps] == ["red", "green"]
    asked = panel["targets"][0]["expr"].replace("$job", ".*").replace("$instance", ".*")
    series = 'megabot_relay_token_expiry_timestamp_seconds{job="j", instance="a", profile="p"}'
    red = {"expr": f"count(({asked}) < {steps[1]['value']}) or vector(0)"}
    seen = {"labels": "{}", "value": int(is_red)}
    case = {
        "interval": "13s",
        "input_series": [{"series": series, "values": expiries}],
        "promql_expr_test": [
            {**red, "eval_time": f"{at_s}s", "exp_samples": [seen]} for at_s in range(30, 130)
        ],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"tests": [case]}))
    tried = promtool("test", "rules", str(file))
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_variables_are_filled_from_what_a_scrape_has() -> None:
    assert list(VARIABLES) == ["datasource", "job", "instance"]
    for name in ("job", "instance"):
        variable = VARIABLES[name]
        assert variable["definition"] == variable["query"]["query"]
        assert problems(variable["definition"], series_of(scrape())) == []


def test_every_metric_of_the_relay_is_on_the_dashboard() -> None:
    shown = set().union(*(metrics_in(expression) for _, expression in QUERIES))
    families = RelayCollector(RelayNumbers(), example_gauges, "1").collect()
    # Those that alerts and variables use, and those that others say more plainly.
    elsewhere = {
        "build", "draining", "token_renewable", "tls_insecure", "link_up_seconds",
        "ring_messages", "flight_recorder_records", "tls_certificate_start_timestamp_seconds",
    }  # fmt: skip
    missing = {
        family.name.removeprefix("megabot_relay_")
        for family in families
        if not {family.name, f"{family.name}_total", f"{family.name}_bucket"} & shown
    }
    assert missing == elsewhere
