from __future__ import annotations

from megabot_cli.client.ids import new_id


def test_ids_are_never_the_same_and_say_what_they_name() -> None:
    ids = [new_id("msg") for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(one.startswith("msg_") for one in ids)


def test_ids_of_later_milliseconds_sort_later() -> None:
    times = [new_id("sess")[5:14] for _ in range(1000)]
    assert times == sorted(times)
