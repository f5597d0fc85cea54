"""How what a relay says is laid out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megabot_cli.commands import relay_control
from megabot_cli.commands.admin_request import FIELDS
from megabot_cli.commands.invocation import Invocation
from megabot_cli.errors import MegabotError, WrongUsage
from megabot_cli.recording.selection import Selection
from megabot_cli.terminal.memory_console import MemoryConsole
from tests.storage.conftest import marks, segment_bytes
from tests.support.disks import small_disk

SESSION = {
    "profile": "default",
    "session": "sess_1m8h59wrw5zjt63st",
    "state": "reconnecting",
    "fault": "Could not connect to 127.0.0.1:3000",
    "clients": 2,
    "waiting": 100,
    "requests": 7,
    "link": "link_1m8h59wpszxxhzhbb",
}
CLIENT = {
    "profile": "default",
    "id": "client_1m8h59z5xsanpfajt",
    "name": "dash",
    "session": "sess_1m8h59wrw5zjt63st",
    "role": None,
    "connected_s": 7384.0,
    "messages": {"to_upstream": 1234, "to_client": 56789},
    "outbox_bytes": 1_048_000,
}


def on_80_columns(monkeypatch: pytest.MonkeyPatch, command: Any, *rows: dict[str, Any]) -> str:
    console = MemoryConsole(terminal=True, width=80)
    invocation = Invocation({"MEGABOT_HOME": "/nowhere"})
    monkeypatch.setitem(invocation.__dict__, "console", console)
    monkeypatch.setattr(relay_control, "_ask", lambda *_: list(rows))
    command(SimpleNamespace(obj=invocation))
    return console.stdout


@pytest.mark.parametrize(
    ("command", "known"),
    [(relay_control.clients, FIELDS["clients"]), (relay_control.sessions, FIELDS["sessions"])],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_field_that_is_none_is_refused_also_where_nobody_is_there(
    monkeypatch: pytest.MonkeyPatch, command: Any, known: tuple[str, ...], form: str
) -> None:
    invocation = Invocation({"MEGABOT_HOME": "/nowhere"})
    invocation.output = form
    monkeypatch.setattr(relay_control, "_ask", lambda *_: [])
    for words in ({"fields": "profil"}, {"template": "{profil}"}):
        if form == "text" or "fields" in words:
            with pytest.raises(WrongUsage, match="there is no field 'profil'") as refused:
                command(SimpleNamespace(obj=invocation), **words)
            assert "Did you mean profile?" in (refused.value.hint or "")
    command(SimpleNamespace(obj=invocation), fields=",".join(known))


def test_of_a_session_the_fault_is_seen_on_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_80_columns(monkeypatch, relay_control.sessions, SESSION)
    assert "Could not connect to 127.0.0.1:3000" in shown
    well = SESSION | {"state": "up", "fault": None}
    heading, row = on_80_columns(monkeypatch, relay_control.sessions, well).splitlines()
    assert heading.split()[:6] == ["session", "state", "fault", "clients", "waiting", "requests"]
    assert row.split()[:6] == [SESSION["session"], "up", "-", "2", "100", "7"]


def test_of_a_client_what_waits_is_seen_on_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    heading, row = on_80_columns(monkeypatch, relay_control.clients, CLIENT).splitlines()
    assert heading.split()[:6] == ["client", "name", "connected", "waiting", "sent", "got"]
    assert row.split()[:2] == [CLIENT["id"], "dash"]
    assert "1023.4 KiB  1234  56789" in row


@pytest.mark.parametrize(
    ("command", "one", "before"),
    [(relay_control.sessions, SESSION, "fault"), (relay_control.clients, CLIENT, "name")],
)
def test_whose_each_is_stands_there_where_one_is_of_another_profile(
    monkeypatch: pytest.MonkeyPatch, command: Any, one: dict[str, Any], before: str
) -> None:
    one = one | {"fault": None}
    assert "profile" not in on_80_columns(monkeypatch, command, one, one)
    other = one | {"profile": "staging"}
    heading, first, second = on_80_columns(monkeypatch, command, one, other).splitlines()
    place = heading.split().index("profile")
    assert heading.split()[place - 1] == before
    assert (first.split()[place], second.split()[place]) == ("default", "staging")
    assert "staging" in on_80_columns(monkeypatch, command, other)


@pytest.mark.parametrize("files", [3, 4])
def test_a_part_of_a_dump_that_finds_no_room_leaves_the_whole_and_says_where_that_is(
    tmp_path: Path, files: int
) -> None:
    with small_disk(tmp_path / "disk", f"size=1m,nr_inodes={files}") as disk:
        whole = disk / "rec_1"
        whole.mkdir()
        (whole / "000001.jsonl").write_bytes(segment_bytes(marks(3)))
        with pytest.raises(MegabotError, match="No space left") as caught:
            relay_control._part_of(whole, Selection(limit=1))
        assert str(whole) in (caught.value.hint or "")
        assert list(disk.iterdir()) == [whole]
        assert [path.name for path in whole.iterdir()] == ["000001.jsonl"]
