"""The Grafana dashboard can be imported, and every panel asks for what a scrape has."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from megabot_cli.telemetry.exposition import RelayCollector
from megabot_cli.telemetry.metrics import RelayNumbers, example_gauges
from tests.telemetry.promql import CONFIG, metrics_in, problems, series_of
from tests.telemetry.test_exposition import scrape

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
