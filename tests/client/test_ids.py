from __future__ import annotations

import re

from megabot_cli.client.ids import new_id, new_ids


def test_ids_are_never_the_same_and_say_what_they_name() -> None:
    ids = [new_id("msg") for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(one.startswith("msg_") for one in ids)


def test_ids_of_later_milliseconds_sort_later() -> None:
    times = [new_id("sess")[5:14] for _ in range(1000)]
    assert times == sorted(times)


def test_ids_made_by_the_thousand_are_as_those_made_one_by_one() -> None:
    ids = [each for _ in range(50) for each in new_ids("msg", 60)]
    assert len(set(ids)) == 3000
    form = re.compile("msg_[0-9abcdefghjkmnpqrstvwxyz]{17}")
    assert all(form.fullmatch(one) for one in (*ids, new_id("msg")))
    times = [one[4:13] for one in (*ids, new_id("msg"))]
    assert times == sorted(times)
