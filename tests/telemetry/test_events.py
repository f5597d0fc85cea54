"""megabot-events(7) and the source name the same log events, with the same levels and fields."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.telemetry.log_calls import BOUND, EVENT, LogCall, log_calls

PAGE = Path(__file__).parents[2] / "man" / "megabot-events.7"
CALLS = list(log_calls())

_TERM = re.compile(r"\\fB([a-z_.]+)\\fR \(([a-z]+(?: or [a-z]+)*)\)(?: \\fI([a-z_ ]+)\\fR)?")
# A field of one of these names would carry what nobody may read in a log.
_TELLING = re.compile(
    r"token|secret|password|credential|api_key|authorization|cookie|payload|body|content|^data$"
)


@dataclass(frozen=True)
class Entry:
    levels: frozenset[str]
    fields: frozenset[str]
    text: str


def entries() -> dict[str, Entry]:
    found = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n.TP\n")[1:]:
        term, _, text = part.partition("\n")
        match = _TERM.fullmatch(term)
        if match is not None:
            name, levels, fields = match.groups()
            assert name not in found, f"{name} stands there twice"
            found[name] = Entry(
                frozenset(levels.split(" or ")), frozenset((fields or "").split()), text
            )
    return found


def by_event() -> dict[str, list[LogCall]]:
    found: dict[str, list[LogCall]] = defaultdict(list)
    for call in CALLS:
        if call.event is not None:
            found[call.event].append(call)
    return found


ENTRIES = entries()
LOGGED = by_event()


def stanza(event: str, calls: list[LogCall]) -> str:
    levels = " or ".join(sorted({call.level for call in calls}))
    fields = " ".join(sorted(set().union(*(call.fields for call in calls))))
    shown = f" \\fI{fields}\\fR" if fields else ""
    return f".TP\n\\fB{event}\\fR ({levels}){shown}\nWhat it means.\nDo: what helps.\n"


def test_every_event_is_written_where_it_is_logged() -> None:
    assert [call.place for call in CALLS if call.event is None] == []
    assert len(LOGGED) > 50


def test_every_event_that_is_logged_stands_in_the_manual() -> None:
    missing = [stanza(event, LOGGED[event]) for event in sorted(LOGGED.keys() - ENTRIES.keys())]
    assert not missing, f"man/{PAGE.name} lacks:\n" + "".join(missing)


def test_every_event_in_the_manual_is_logged() -> None:
    assert sorted(ENTRIES.keys() - LOGGED.keys()) == []


@pytest.mark.parametrize("event", sorted(ENTRIES.keys() & LOGGED.keys()))
def test_the_manual_has_the_levels_and_fields_of_the_source(event: str) -> None:
    entry, calls = ENTRIES[event], LOGGED[event]
    assert entry.levels == {call.level for call in calls}
    logged = set().union(*(call.fields for call in calls))
    assert not logged - entry.fields, "fields that the manual lacks"
    if not any(call.spreads for call in calls):
        assert not entry.fields - logged - BOUND, "fields that nobody logs"


@pytest.mark.parametrize("event", sorted(ENTRIES))
def test_an_entry_says_what_happened_and_for_a_fault_what_to_do(event: str) -> None:
    entry = ENTRIES[event]
    assert len(entry.text) > 20
    if entry.levels & {"warning", "error"}:
        assert re.search(r"^Do: .+", entry.text, re.MULTILINE), f"{event} does not say what to do"


def test_names_say_a_thing_and_what_became_of_it() -> None:
    assert [event for event in LOGGED if not EVENT.fullmatch(event)] == []


def test_no_field_has_the_name_of_something_secret() -> None:
    telling = {
        f"{call.place} {field}" for call in CALLS for field in call.fields if _TELLING.search(field)
    }
    assert not telling


@pytest.mark.parametrize("name", ["megabot-events.7", "megabot-metrics.7"])
def test_man_finds_no_fault_in_the_page(name: str) -> None:
    if shutil.which("man") is None:
        pytest.skip("no man on this machine")
    checked = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(PAGE.with_name(name))],
        capture_output=True, text=True, check=True,
        env={"MANWIDTH": "80", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert checked.stderr == ""
