"""The recording and alert rules ask for what a scrape has, and do what their tests say."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.telemetry.promql import CONFIG, RULES, problems, recorded_names, rules, series_of
from tests.telemetry.test_exposition import scrape

FOLDER = CONFIG / "prometheus"
ALERTS = rules(RULES[1])


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: `bash .ci/peers` installs Debian's prometheus")
    return subprocess.run(
        [found, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )


def name_of(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


@pytest.mark.parametrize("rule", [r for path in RULES for r in rules(path)], ids=name_of)
def test_a_rule_asks_for_what_a_scrape_has(rule: dict[str, Any]) -> None:
    assert problems(rule["expr"], series_of(scrape())) == []


def test_a_wrong_name_label_or_value_would_be_found() -> None:
    series = series_of(scrape())
    assert problems("rate(megabot_relay_mesages_total[5m])", series)
    assert problems('megabot_relay_links{sate="up"}', series)
    assert problems('megabot_relay_links{state=~"up|don"}', series)
    assert not problems('megabot_relay_links{state=~"up|failed", job="x"}', series)


@pytest.mark.parametrize("rule", ALERTS, ids=name_of)
def test_an_alert_says_how_bad_it_is_what_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert "{{ $labels.instance }}" in rule["annotations"]["summary"]
    assert rule["annotations"].keys() == {"summary", "action"}
    assert all(text.endswith((".", ")")) for text in rule["annotations"].values())


def test_every_alert_is_seen_to_fire_and_to_wait_and_every_recording_is_tried() -> None:
    cases = yaml.safe_load((FOLDER / "tests.yaml").read_text(encoding="utf-8"))["tests"]
    checks = [check for case in cases for check in case.get("alert_rule_test", ())]
    fired = {check["alertname"] for check in checks if check["exp_alerts"]}
    quiet = {check["alertname"] for check in checks if not check["exp_alerts"]}
    assert fired == quiet == {rule["alert"] for rule in ALERTS}
    asked = " ".join(check["expr"] for case in cases for check in case.get("promql_expr_test", ()))
    assert [name for name in recorded_names() if name not in asked] == []


def test_promtool_accepts_the_rules_and_the_scrape_configuration() -> None:
    checked = promtool("check", "rules", *(path.name for path in RULES))
    assert checked.returncode == 0, checked.stderr
    checked = promtool("check", "config", "prometheus.yaml")
    assert checked.returncode == 0, checked.stderr


def test_the_rules_do_what_their_tests_say() -> None:
    tested = promtool("test", "rules", "tests.yaml")
    assert tested.returncode == 0, tested.stderr
    assert "SUCCESS" in tested.stdout + tested.stderr
