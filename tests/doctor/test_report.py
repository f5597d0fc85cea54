"""The report tells everything but secrets and persons."""

from __future__ import annotations

import json

import pytest

from megabot_cli.doctor.findings import fail, named, ok
from megabot_cli.doctor.report import SettingShown, write_report
from megabot_cli.errors import CouldNotConnect

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"
HIDDEN = {"/home/ann": "~", "ann": "‹user›", "hunter2-hunter2": "‹secret›"}
FINDINGS = [
    named(ok("kept in /home/ann/x by ann, not by Hannah", username="ann", path="/home/ann/x"), "a"),
    named(fail(CouldNotConnect("hunter2-hunter2 | " + TOKEN, "Mend | it.")), "b"),
]
SETTINGS = [
    SettingShown("profiles.default.url", "ws://x/ws", "environment MEGABOT_URL"),
    SettingShown("limits.queue", 100, "default"),
]


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_neither_secrets_nor_persons_are_in_it(form: str) -> None:
    text = write_report(form, "1.2.3", SETTINGS, FINDINGS, HIDDEN)
    for secret in ("hunter2", TOKEN, "/home/ann", "by ann"):
        assert secret not in text
    for told in ("1.2.3", "kept in ~/x by ‹user›, not by Hannah", "MEGABOT_URL", "aiohttp"):
        assert told in text


def test_the_json_form_holds_every_setting_and_the_other_those_that_were_set() -> None:
    facts = json.loads(write_report("json", "1", SETTINGS, FINDINGS, HIDDEN))
    assert facts["report_version"] == 1
    assert [each["name"] for each in facts["settings"]] == ["profiles.default.url", "limits.queue"]
    assert facts["counts"] == {"ok": 1, "warn": 0, "fail": 1, "skipped": 0}
    markdown = write_report("markdown", "1", SETTINGS, FINDINGS, HIDDEN)
    assert "limits.queue" not in markdown
    assert "Mend \\| it." in markdown
