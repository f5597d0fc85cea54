"""Whom a message from upstream concerns, and what it answers."""

from __future__ import annotations

import json

from megabot_cli.protocol.envelope import Head, peek
from megabot_cli.relay.routing import MOST_ID, UNCLEAR_S, WHOLE_ANSWER_S, Route, Routing


def message(kind: str, reply_to: str | None = None, **payload: object) -> tuple[Head, bytes]:
    text = json.dumps(
        {
            "id": "m",
            "type": kind,
            "payload": payload,
            "metadata": {"reply_to": reply_to} if reply_to else {},
        }
    ).encode()
    head = peek(text)
    assert head is not None
    return head, text


def test_a_stream_gives_the_time_to_its_first_chunk_and_to_its_end() -> None:
    routing = Routing()
    routing.sent("a", "ann", 10.0)
    first = routing.route(*message("chat_stream", "a", is_complete=False), 10.5).progress
    more = routing.route(*message("chat_stream", "a", is_complete=False), 11.0).progress
    last = routing.route(*message("chat_stream", "a", is_complete=True), 12.0).progress
    assert first is not None
    assert (first.first_chunk_s, first.reply_s) == (0.5, None)
    assert more is not None
    assert (more.first_chunk_s, more.reply_s) == (None, None)
    assert last is not None
    assert last.reply_s == 2.0
    assert len(routing) == 0


def test_what_follows_an_answered_request_still_goes_to_its_asker() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.route(*message("chat_stream", "a", is_complete=True), 2.0)
    after = routing.route(*message("chat_receive", "a"), 2.1)
    assert (after.route, after.client, after.progress) == (Route.EXACT, "ann", None)


def test_two_askers_get_their_own_answers_by_reply_to() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.sent("b", "bob", 1.0)
    assert routing.route(*message("chat_stream", "b", is_complete=False), 2.0).client == "bob"
    assert routing.route(*message("chat_stream", "a", is_complete=False), 2.0).client == "ann"


def test_an_execution_concerns_the_client_that_began_it() -> None:
    routing = Routing()
    routing.began("exec_1", "ann")
    progress = routing.route(*message("status_update", execution_id="exec_1", status="x"), 2.0)
    result = routing.route(*message("tool_result", execution_id="exec_1", status="x"), 2.0)
    assert (progress.route, progress.client) == (Route.KEY, "ann")
    assert (result.route, result.client) == (Route.KEY, "ann")


def test_a_stream_named_once_with_reply_to_stays_its_askers() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.route(*message("chat_stream", "a", stream_id="s1", is_complete=False), 2.0)
    later = routing.route(*message("chat_stream", None, stream_id="s1", is_complete=False), 2.0)
    assert (later.route, later.client) == (Route.KEY, "ann")


def test_without_reply_to_the_only_request_of_a_kind_is_the_one_answered() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routed = routing.route(*message("chat_receive"), 3.0)
    assert (routed.route, routed.client) == (Route.FIFO, "ann")
    assert routing.echoes is False


def test_two_requests_of_a_kind_and_no_reply_to_is_told_to_everybody_and_never_guessed() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.sent("b", "bob", 2.0)
    assert routing.route(*message("chat_receive"), 3.0).route is Route.BROADCAST
    assert routing.ids() == ["a", "b"]


def test_where_everybody_hears_everything_the_oldest_request_counts_as_answered() -> None:
    routing = Routing(in_order=True)
    routing.sent("a", "ann", 1.0)
    routing.sent("b", "bob", 2.0)
    routing.route(*message("chat_receive"), 3.0)
    assert routing.ids() == ["b"]


def test_a_second_request_waits_until_the_upstream_is_seen_to_name_what_it_answers() -> None:
    routing = Routing()
    assert not routing.must_hold("chat_send")
    routing.sent("a", "ann", 1.0)
    assert routing.must_hold("chat_send")
    assert not routing.must_hold("tool_call")
    routing.route(*message("chat_stream", "a", is_complete=False), 2.0)
    assert not routing.must_hold("chat_send")


def test_an_upstream_that_names_requests_means_everybody_when_it_names_none() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.route(*message("chat_stream", "a", is_complete=False), 2.0)
    assert routing.route(*message("connection_error"), 2.0).route is Route.BROADCAST
    assert routing.ids() == ["a"]


def test_news_that_answers_nobody_settles_nothing() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    assert routing.route(*message("notification"), 2.0).client is None
    assert routing.route(*message("chat_receive", "other"), 2.0).client is None
    assert routing.ids() == ["a"]


def test_an_upstream_that_never_answers_fills_no_memory() -> None:
    routing = Routing(limit=3)
    for number in range(30):
        routing.sent(str(number), "ann", float(number))
    assert routing.ids() == ["27", "28", "29"]
    assert routing.route(*message("chat_receive", "26"), 31.0).client == "ann"
    assert routing.route(*message("chat_receive", "0"), 31.0).client is None


def test_a_request_nobody_answers_is_given_up_and_what_comes_late_is_still_its_askers() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    assert [request.message_id for request in routing.expire(now=62.0, after_s=60.0)] == ["a"]
    assert not routing.must_hold("chat_send")
    assert routing.route(*message("chat_receive", "a"), 90.0).client == "ann"


def given_up(*more: tuple[Head, bytes]) -> list[str]:
    """What is open when the line falls, where one was given up and then this came."""
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    assert len(routing.expire(62.0, 60.0)) == 1
    for number, each in enumerate(more):
        assert routing.route(*each, 63.0 + number).client == "ann"
    routing.line_lost(70.0)
    assert routing.expire(71.0, 60.0) == []  # whoever waits for an answer is told first
    return [request.message_id for request in routing.take_all()]


def test_one_that_was_given_up_is_open_when_the_line_falls_unless_its_answer_came() -> None:
    chunk = message("chat_stream", stream_id="s", is_complete=False)
    last = message("chat_stream", is_complete=True)
    assert given_up() == ["a"]
    assert given_up(chunk) == ["a"]
    assert given_up(message("chat_receive")) == given_up(last) == []
    assert given_up(message("chat_stream", "a", is_complete=False)) == ["a"]
    assert given_up(message("chat_receive", "a")) == []
    assert given_up(message("chat_stream", "a", is_complete=True)) == []


def test_what_names_the_work_of_one_that_was_given_up_answers_it() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.route(*message("chat_stream", stream_id="s", is_complete=False), 2.0)
    assert len(routing.expire(80.0, 60.0)) == 1
    last = message("chat_stream", stream_id="s", is_complete=True)
    assert routing.route(*last, 81.0).route == Route.KEY
    assert routing.take_all() == []


def test_one_whose_answer_nobody_reckons_with_is_open_as_well_when_the_line_falls() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.sent("b", "bob", 1.0)
    routing.expire(62.0, 60.0)
    routing.expire(62.0 + UNCLEAR_S, 60.0)
    assert routing.route(*message("chat_receive"), 200.0).route == Route.BROADCAST
    assert routing.route(*message("chat_receive", "b"), 200.0).client == "bob"
    routing.sent("c", "ann", 200.0)
    assert [request.message_id for request in routing.take_all()] == ["a", "c"]
    assert routing.take_all() == []


def test_taking_some_leaves_the_others() -> None:
    routing = Routing()
    for name in ("a", "b", "c"):
        routing.sent(name, "ann", 1.0)
    assert [request.message_id for request in routing.take(["b", "gone"])] == ["b"]
    assert [request.message_id for request in routing.take_all()] == ["a", "c"]
    assert not routing.must_hold("chat_send")


def test_a_whole_answer_after_the_last_chunk_belongs_to_the_same_request() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    last = message("chat_stream", chunk="", is_complete=True)
    assert routing.route(*last, 2.0).client == "ann"
    assert routing.must_hold("chat_send")  # the whole may follow
    whole = message("chat_receive", content="x")
    assert routing.route(*whole, 2.1).client == "ann"
    assert routing.repeats_whole is True
    assert not routing.must_hold("chat_send")


def test_where_no_whole_answer_follows_it_is_waited_for_once() -> None:
    routing = Routing()
    last = message("chat_stream", chunk="", is_complete=True)
    routing.sent("a", "ann", 1.0)
    routing.route(*last, 2.0)
    assert [request.message_id for request in routing.expire(now=2.6, after_s=60.0)] == ["a"]
    routing.sent("b", "bob", 3.0)
    routing.route(*last, 4.0)
    assert not routing.must_hold("chat_send")


def test_an_id_is_anothers_until_its_answer_has_surely_passed() -> None:
    routing = Routing()
    routing.sent("1", "ann", 1.0)
    assert routing.taken("1", "bob", 1.0)
    assert not routing.taken("1", "ann", 1.0)
    whole = message("chat_receive", reply_to="1", content="x")
    routing.route(*whole, 2.0)
    assert routing.taken("1", "bob", 2.1)
    assert not routing.taken("1", "bob", 3.0)


def test_what_is_no_request_is_remembered_for_what_names_it() -> None:
    routing = Routing(limit=3)
    routing.passed("j", "ann", 1.0)
    assert routing.route(*message("status_update", "j", task_id="t"), 2.0).client == "ann"
    assert routing.route(*message("status_update", None, task_id="t"), 2.0).client == "ann"
    assert len(routing) == 0  # nobody waits for an answer
    for number in range(9):
        routing.passed(str(number), "bob", 3.0)
    assert routing.route(*message("status_update", "j"), 4.0).route == Route.BROADCAST


def test_an_id_belongs_to_whom_used_it_last_once_it_was_answered() -> None:
    routing = Routing()
    routing.passed("1", "ann", 1.0)
    routing.route(*message("notification", "1"), 2.0)
    routing.passed("1", "bob", 3.0)
    assert routing.route(*message("notification", "1"), 4.0).client == "bob"
    routing.sent("1", "cid", 5.0)
    assert routing.route(*message("chat_receive", "1"), 6.0).client == "cid"
    assert routing.route(*message("notification", "1"), 7.0).client == "cid"


def test_an_id_of_two_that_were_not_answered_is_nobodys() -> None:
    routing = Routing()
    routing.passed("1", "ann", 1.0)
    routing.passed("1", "bob", 2.0)
    assert routing.route(*message("notification", "1"), 3.0).client is None
    routing.passed("1", "bob", 70.0)
    assert routing.route(*message("notification", "1"), 71.0).client == "bob"


def test_what_is_older_than_the_newest_is_still_its_askers() -> None:
    """The memory has two halves: what left the young one is in the old one."""
    routing = Routing(limit=2)
    for name in ("a", "b", "c"):
        routing.sent(name, f"asker of {name}", 1.0)
        routing.route(*message("chat_receive", name), 2.0)
        routing.began(f"exec {name}", f"beginner of {name}")
    for name in ("a", "b", "c"):
        assert routing.route(*message("notification", name), 3.0).client == f"asker of {name}"
        by_key = routing.route(*message("status_update", execution_id=f"exec {name}"), 3.0)
        assert by_key.client == f"beginner of {name}"


def test_an_id_may_be_used_again_by_whom_it_was_and_by_nobody_else() -> None:
    routing = Routing()
    assert routing.is_free("a", "ann")
    routing.sent("a", "ann", 1.0)
    assert routing.is_free("a", "ann")
    assert not routing.is_free("a", "bob")
    routing.route(*message("chat_receive", "a"), 2.0)
    assert routing.is_free("a", "ann")
    assert not routing.is_free("a", "bob")
    assert not routing.taken("a", "ann", 2.0)
    assert routing.taken("a", "bob", 2.0 + WHOLE_ANSWER_S - 0.001)
    assert not routing.taken("a", "bob", 2.0 + WHOLE_ANSWER_S)


def test_a_request_that_is_made_again_is_the_youngest() -> None:
    routing = Routing(limit=2)
    for name in ("a", "b", "a", "c"):
        routing.sent(name, "ann", 1.0)
    assert routing.ids() == ["a", "c"]


def test_two_that_use_an_id_are_told_apart_once_it_is_old() -> None:
    for later, asker in ((UNCLEAR_S - 0.001, None), (UNCLEAR_S, "bob")):
        routing = Routing()
        routing.passed("x", "ann", 0.0)
        routing.passed("x", "bob", later)
        assert routing.route(*message("notification", "x"), later).client == asker


def test_a_key_is_remembered_up_to_a_length() -> None:
    routing = Routing()
    for length, asker in ((MOST_ID, "ann"), (MOST_ID + 1, None)):
        routing.began("k" * length, "ann")
        routed = routing.route(*message("status_update", execution_id="k" * length), 1.0)
        assert routed.client == asker


def test_what_a_key_names_settles_nobody_elses_request() -> None:
    routing = Routing()
    routing.began("exec_1", "ann")
    routing.sent("b", "bob", 1.0, "tool_call")
    routed = routing.route(*message("tool_result", execution_id="exec_1"), 2.0)
    assert (routed.route, routed.client, routed.progress) == (Route.KEY, "ann", None)
    assert routing.ids() == ["b"]
    routing.began("exec_2", "bob")
    routed = routing.route(*message("tool_result", execution_id="exec_2"), 3.0)
    assert (routed.client, routing.ids()) == ("bob", [])


def test_a_reply_that_names_nothing_is_for_a_request_of_its_kind() -> None:
    for asked, reply, other in (
        ("chat_send", "chat_receive", "tool_result"),
        ("tool_call", "tool_result", "chat_receive"),
    ):
        routing = Routing()
        routing.sent("a", "ann", 1.0, asked)
        assert routing.route(*message(other), 2.0).route is Route.BROADCAST
        assert routing.ids() == ["a"]
        assert routing.route(*message(reply), 3.0).client == "ann"
        assert routing.ids() == []
        routing = Routing()
        routing.sent("a", "ann", 1.0, asked)
        assert routing.route(*message("connection_error"), 3.0).client == "ann"


def test_a_whole_answer_is_waited_for_so_long_and_no_longer() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.route(*message("chat_stream", is_complete=True), 2.0)
    assert routing.expire(2.0 + WHOLE_ANSWER_S - 0.001, 60.0) == []
    assert [each.message_id for each in routing.expire(2.0 + WHOLE_ANSWER_S, 60.0)] == ["a"]


def test_an_upstream_that_repeats_its_answers_as_a_whole_may_leave_one_out() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.route(*message("chat_stream", is_complete=True), 2.0)
    assert routing.route(*message("chat_receive"), 2.1).client == "ann"
    routing.sent("b", "bob", 3.0)
    routing.route(*message("chat_stream", is_complete=True), 4.0)
    routing.expire(4.0 + WHOLE_ANSWER_S, 60.0)
    routing.sent("c", "cat", 5.0)
    routing.route(*message("chat_stream", is_complete=True), 6.0)
    assert routing.must_hold("chat_send")
    assert routing.route(*message("chat_receive"), 6.1).client == "cat"
    assert not routing.must_hold("chat_send")


# -- answers that come when nobody waits for them any longer -----------------------------------


def chunk(stream_id: str | None = None) -> tuple[Head, bytes]:
    return message("chat_stream", chunk="x", is_complete=False, stream_id=stream_id)


def test_a_request_whose_stream_goes_on_is_not_given_up() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.route(*chunk(), 50.0)
    assert routing.expire(now=70.0, after_s=60.0) == []
    assert routing.route(*chunk(), 71.0).client == "ann"
    assert [each.message_id for each in routing.expire(now=131.0, after_s=60.0)] == ["a"]


def test_a_stream_that_names_no_request_stays_its_askers_by_its_own_name() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    assert routing.route(*chunk(stream_id="s1"), 2.0).client == "ann"
    routing.sent("b", "bob", 61.0)
    later = routing.route(*chunk(stream_id="s1"), 62.0)
    assert (later.route, later.client) == (Route.KEY, "ann")


def test_a_late_answer_is_not_taken_for_that_to_the_next_request() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.expire(now=61.0, after_s=60.0)
    routing.sent("b", "bob", 61.0)
    answer = message("chat_receive", content="whose?")
    first = routing.route(*answer, 70.0)
    assert (first.route, first.client) == (Route.BROADCAST, None)
    assert not routing.must_hold("chat_send")  # one answer is one request less
    second = routing.route(*answer, 75.0)
    assert (second.route, second.client) == (Route.BROADCAST, None)
    routing.sent("c", "cleo", 80.0)  # no answer is outstanding any more
    assert routing.route(*answer, 81.0).client == "cleo"


def test_a_late_answer_that_can_be_no_other_is_its_askers() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.expire(now=61.0, after_s=60.0)
    routing.sent("t", "bob", 61.0, "tool_call")
    assert routing.route(*message("chat_receive", content="x"), 70.0).client == "ann"
    assert routing.route(*message("tool_result", execution_id="e"), 71.0).client == "bob"


def test_an_answer_that_stays_away_for_another_minute_is_not_reckoned_with() -> None:
    routing = Routing()
    routing.sent("a", "ann", 1.0)
    routing.expire(now=61.0, after_s=60.0)
    routing.sent("b", "bob", 61.0 + UNCLEAR_S)
    answer = message("chat_receive", content="x")
    assert routing.route(*answer, 62.0 + UNCLEAR_S).client == "bob"
