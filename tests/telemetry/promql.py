"""Which metrics and label values an expression of Prometheus asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

CONFIG = Path(__file__).parents[2] / "config"
RULES = [CONFIG / "prometheus" / f"{name}.rules.yaml" for name in ("recording", "alerts")]

_NAME = re.compile(r"\b(?:instance:)?(?:megabot_|process_)[a-z0-9_:]+")
_SELECTOR = re.compile(r"((?:megabot_|process_)[a-z0-9_]+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')

# Labels that the scrape itself adds.
SCRAPE_LABELS = {"job", "instance"}

Series = dict[str, list[dict[str, str]]]


def series_of(text: str) -> Series:
    """Sample name → the labels of each of its series."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def rules(path: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def recorded_names() -> set[str]:
    return {rule["record"] for path in RULES for rule in rules(path) if "record" in rule}


def metrics_in(expression: str) -> set[str]:
    return set(_NAME.findall(expression))


def problems(expression: str, series: Series) -> list[str]:
    """What an expression asks for that no scrape has."""
    known = series.keys() | recorded_names()
    found = [f"there is no metric {name}" for name in metrics_in(expression) if name not in known]
    for name, matchers in _SELECTOR.findall(expression):
        for label, operator, value in _MATCHER.findall(matchers):
            if label not in SCRAPE_LABELS and name in series:
                found += _unknown_values(name, label, operator, value, series[name])
    return found


def _unknown_values(
    name: str, label: str, operator: str, value: str, samples: list[dict[str, str]]
) -> list[str]:
    values = {labels.get(label) for labels in samples}
    asked = value.split("|") if "~" in operator else [value]
    return [f"{name} is never {label}={each!r}" for each in asked if each not in values]
