"""The shipped dashboard says nothing that Grafana's own schema does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DASHBOARDS = sorted((Path(__file__).parents[2] / "config" / "grafana").glob("*.json"))

# Grafana reads and writes these; the published schema leaves them out.
UNPUBLISHED = {
    ".__inputs", ".__requires", ".id", ".annotations.list[].builtIn", ".annotations.list[].step",
    ".annotations.list[].titleFormat", ".templating.list[].definition",
}  # fmt: skip


def through_the_schema(content: dict[str, Any]) -> Any:
    """What is left of a dashboard once Grafana's types have read and written it."""
    why = "grafana-foundation-sdk is not installed: no dashboard is held against its schema"
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason=why)
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder", reason=why)
    plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins", reason=why)
    plugins.register_default_plugins()
    return json.loads(encoder.JSONEncoder().encode(models.Dashboard.from_json(content)))


def lost(given: Any, kept: Any, place: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from lost(value, kept[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for one, other in zip(given, kept, strict=True):
            yield from lost(one, other, f"{place}[]")
    elif given != kept:
        yield place


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_grafanas_schema_knows_every_word_of_a_dashboard(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert set(lost(content, through_the_schema(content))) <= UNPUBLISHED


def test_a_word_that_grafana_does_not_know_is_found() -> None:
    content = json.loads(DASHBOARDS[0].read_text(encoding="utf-8"))
    panel = next(each for each in content["panels"] if each["type"] == "timeseries")
    panel["gridPoss"] = panel["gridPos"]
    panel["options"]["legend"]["placment"] = "bottom"
    assert set(lost(content, through_the_schema(content))) - UNPUBLISHED == {
        ".panels[].gridPoss", ".panels[].options.legend.placment",
    }  # fmt: skip
