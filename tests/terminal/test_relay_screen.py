"""What `relay top` shows of a relay, in the room there is."""

from __future__ import annotations

from typing import Any

import pytest

from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.relay_screen import Screen
from megabot_cli.terminal.text import display_width

FACTS: dict[str, Any] = {
    "profile": "default",
    "upstream": "ws://127.0.0.1:3000/ws",
    "draining": False,
    "ready": True,
    "mode": "session",
    "uptime_s": 4.0,
    "messages": {"to_upstream": 1, "to_client": 2},
    "links": {"up": 1},
    "reconnects": 0,
    "clients": 1,
    "sessions": 1,
    "taps": 0,
    "waiting_to_upstream": 0,
    "outbox_bytes": 0,
    "replies": {"count": 3, "p50_s": 0.1, "p95_s": 0.25},
    "first_chunks": {"p95_s": 0.1},
}
CLIENT: dict[str, Any] = {
    "id": "client_1m8h59z5xsanpfajt",
    "name": None,
    "session": "sess_1m8h59wrw5zjt63st",
    "connected_s": 7384.0,
    "messages": {"to_upstream": 1234, "to_client": 56789},
    "outbox_bytes": 1_048_000,
}


@pytest.mark.parametrize(
    ("width", "left_out"), [(95, None), (80, None), (60, "session"), (42, "session, connected")]
)
def test_no_row_is_cut_in_the_middle_and_columns_without_room_are_named(
    width: int, left_out: str | None
) -> None:
    lines = Screen(MemoryConsole()).lines(FACTS, [CLIENT], 1.0, width)
    (heading,) = [number for number, line in enumerate(lines) if line.startswith("client  ")]
    table = lines[heading:]
    assert max(map(len, table[:2])) <= width
    for named, shown in (("sent", "1234"), ("got", "56789"), ("waiting", "1023.4 KiB")):
        assert named in table[0]
        assert shown in table[1]
    told = [f"not shown for want of room: {left_out}"] if left_out else []
    assert table[2:] == told
    assert "first chunk p95 ≤ 100 ms" in lines


def test_names_of_wide_characters_keep_the_columns_below_each_other() -> None:
    wide = CLIENT | {"name": "日本語クライアント", "session": "会話"}
    lines = Screen(MemoryConsole()).lines(FACTS, [CLIENT, wide], 1.0, 80)
    assert len({display_width(line) for line in lines[-3:]}) == 1


def test_the_slowest_answers_stand_above_the_clients_and_rows_keep_to_the_width() -> None:
    slow = {
        "type": "chat_send",
        "id": "msg_1m8h59z5xsanpfajt",
        "client": "ada",
        "session": "sess_1m8h59wrw5zjt63st",
    }
    facts = FACTS | {
        "slowest_replies": [
            slow | {"took_s": 12.345, "age_s": 3.0},
            slow | {"took_s": 0.0123, "age_s": 61.0, "session": None},
        ]
    }
    lines = Screen(MemoryConsole()).lines(facts, [CLIENT], 1.0, 80)
    at = lines.index("slowest answers of the last minute")
    assert lines[at + 1].split()[:6] == ["12.35", "s", "3.0", "s", "ago", "chat_send"]
    assert "of ada" in lines[at + 1]
    assert lines[at + 2].split()[:5] == ["12.3", "ms", "1:01", "ago", "chat_send"]
    assert lines[at + 4].startswith("client  ")
    assert max(map(len, lines[at : at + 4])) <= 80
