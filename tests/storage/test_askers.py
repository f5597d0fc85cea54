"""Whose answer is whose: remembered for the newest requests, and never a guess."""

from __future__ import annotations

from megabot_cli.storage import askers
from megabot_cli.storage.askers import Askers


def test_all_of_an_answer_is_the_askers_also_what_follows_its_end() -> None:
    known = Askers()
    known.asked("l1", "m1", "c1")
    known.asked("l2", "m1", "c2")
    for message_type in ("chat_stream", "chat_receive", "status_update"):
        assert known.of("l1", "m1", message_type) == "c1"
    assert known.of("l2", "m1", "chat_receive") == "c2"
    assert known.of("l3", "m1", "chat_receive") is None
    assert known.of("l1", "m2", "chat_receive") is None
    assert known.of("l1", None, "notification") is None


def test_an_id_that_is_used_again_after_its_answer_is_the_new_askers() -> None:
    known = Askers()
    known.asked("l1", "m1", "c1")
    assert known.of("l1", "m1", "chat_receive") == "c1"
    known.asked("l1", "m1", "c2")
    assert known.of("l1", "m1", "chat_stream") == "c2"


def test_one_id_of_two_at_once_is_nobodys_until_it_was_answered() -> None:
    known = Askers()
    known.asked("l1", "m1", "c1")
    known.asked("l1", "m1", "c2")
    assert known.of("l1", "m1", "chat_stream") is None
    assert known.of("l1", "m1", "chat_receive") is None
    known.asked("l1", "m1", "c2")
    assert known.of("l1", "m1", "chat_receive") == "c2"


def test_one_that_must_wait_has_no_answer_before_it_goes_up() -> None:
    known = Askers()
    known.asked("l1", "m1", "c1")
    known.asked("l1", "m1", "c2")
    known.held("l1", "m1", "c2")
    assert known.of("l1", "m1", "chat_stream") == "c1"
    assert known.of("l1", "m1", "chat_receive") == "c1"
    known.asked("l1", "m1", "c2")  # it goes up
    assert known.of("l1", "m1", "chat_receive") == "c2"


def test_who_waits_behind_a_message_of_its_own_is_no_asker_of_what_others_ask_meanwhile() -> None:
    known = Askers()
    known.asked("l1", "m2", "c1")
    known.held("l1", "m2", "c1")
    known.asked("l1", "m2", "c2")
    assert known.of("l1", "m2", "chat_receive") == "c2"


def test_what_a_relay_refused_makes_no_other_answer_unclear() -> None:
    known = Askers()
    known.refused("l1", "m1", "c1")
    known.asked("l1", "m1", "c1")
    known.refused("l1", "m1", "c1")  # it may have gone up: its answer is its own
    assert known.of("l1", "m1", "chat_stream") == "c1"
    known.asked("l1", "m1", "c2")
    known.refused("l1", "m1", "c2")
    assert known.of("l1", "m1", "chat_receive") == "c1"


def test_two_requests_of_one_client_with_one_id_are_both_open() -> None:
    known = Askers()
    known.asked("l1", "m1", "c1")
    known.asked("l1", "m1", "c1")
    assert known.of("l1", "m1", "chat_receive") == "c1"
    known.asked("l1", "m1", "c2")
    known.held("l1", "m1", "c2")
    assert known.of("l1", "m1", "chat_receive") == "c1"


def test_only_the_newest_are_remembered() -> None:
    known, most = Askers(), askers._MOST
    for number in range(3 * most):
        known.asked("l1", f"m{number}", "c1")
        known.of("l1", f"m{number}", "chat_receive")
    for number in range(3 * most, 6 * most):
        known.asked("l1", f"m{number}", "c1")
    assert known.of("l1", f"m{6 * most - 1}", "chat_receive") == "c1"
    assert known.of("l1", "m0", "chat_receive") is None
    of_link = known._links["l1"]
    kept = (of_link._open, of_link._young, of_link._old)
    assert max(len(each) for each in kept) <= most + 1
    for number in range(2 * most):
        known.asked(f"link {number}", "m", "c1")
    assert len(known._links) <= most
