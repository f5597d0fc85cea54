"""A conversation as Markdown, and turn by turn."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording import turns as turns_module
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.record import Record
from megabot_cli.recording.transcript import transcript
from megabot_cli.recording.turns import Turn, Turns
from tests.recording.arbitrary import records, thorough

HEADER = Header(recording="rec_1", started_at="2026-11-23T04:12:09.000Z", upstream="wss://x/`ws`")


def said(t_ms: int, direction: str, kind: str, payload: Any, **fields: Any) -> Record:
    reply_to = fields.pop("reply_to", None)
    text = {"id": fields.get("id", f"m{t_ms}"), "type": kind, "payload": payload}
    if reply_to:
        text["metadata"] = {"reply_to": reply_to}
    return Record(
        n=t_ms + 1, t=t_ms * 1000, kind="message", direction=direction, type=kind, link="link_1",
        data=json.dumps(text, ensure_ascii=False), **fields,
    )  # fmt: skip


def asked(t_ms: int, content: str, message_id: str = "q", **fields: Any) -> Record:
    return said(t_ms, "to_upstream", "chat_send", {"content": content}, id=message_id, **fields)


def chunk(t_ms: int, text: str, number: int, *, last: bool = False, to: str = "q") -> Record:
    payload = {"chunk": text, "sequence": number, "is_complete": last}
    return said(t_ms, "to_client", "chat_stream", payload, reply_to=to)


def whole(t_ms: int, text: str, to: str = "q") -> Record:
    return said(t_ms, "to_client", "chat_receive", {"content": text}, reply_to=to)


def given_by(*some: Record) -> list[Turn]:
    turns = Turns()
    return [turn for record in some for turn in turns.take(record)] + list(turns.rest())


def test_an_answer_stands_in_one_piece_under_its_question() -> None:
    text = "".join(
        transcript(
            HEADER,
            [asked(100, "Why?"), chunk(300, "Be", 1), chunk(400, "cause.", 2, last=True),
             whole(500, "Because.")],
        )
    )  # fmt: skip
    assert text == (
        "# Conversation rec\\_1\n\n"
        "- began 2026-11-23 04:12:09 (UTC)\n"
        "- with `` wss://x/`ws` ``\n"
        "\n## 04:12:09.100 · User\n\n"
        "> Why?\n"
        "\n**MegaBot** (began after 0.200 s, whole after 0.400 s):\n\n"
        "> Because.\n"
    )


def test_tool_calls_are_nested_in_their_turn_with_what_the_client_gave() -> None:
    call = {"tool_name": "clock", "parameters": {"zone": "UTC"}, "execution_id": "e1"}
    gave = {"execution_id": "e1", "status": "completed", "result": 12}
    text = "".join(
        transcript(
            None,
            [asked(1, "Time?"), said(2, "to_client", "tool_call", call, reply_to="q"),
             said(3, "to_upstream", "tool_result", gave), whole(4, "Noon.")],
        )
    )  # fmt: skip
    assert text.index("> Time?") < text.index("- calls tool **clock**") < text.index("> Noon.")
    assert "  - result by the client: completed" in text
    assert text.count("## ") == 1


def test_a_tool_call_that_names_no_question_is_over_with_its_result() -> None:
    call = {"tool_name": "clock", "parameters": {}, "execution_id": "e1"}
    turns = Turns()
    assert list(turns.take(said(1, "to_client", "tool_call", call))) == []
    (turn,) = turns.take(said(2, "to_upstream", "tool_result", {"execution_id": "e1"}))
    assert [part.type for part in turn.answer.parts] == ["tool_call", "tool_result"]
    assert turn.results == {1}


def test_answers_that_mix_are_told_in_the_order_of_their_questions() -> None:
    found = given_by(
        asked(1, "one", "a"), asked(2, "two", "b"), whole(3, "2", "b"), whole(4, "1", "a")
    )
    assert [turn.payload["content"] for turn in found] == ["one", "two"]
    assert [turn.answer.parts[0].payload["content"] for turn in found] == ["1", "2"]


def test_answers_to_questions_with_one_id_go_to_the_first_that_is_not_over() -> None:
    turns = given_by(
        asked(0, "one", client="c1"),
        asked(1, "two", client="c2"),
        asked(2, "three", client="c3"),
        chunk(3, "One", 1, last=True),
        whole(4, "One"),
        chunk(5, "Two", 1, last=True),
        chunk(6, "Three", 1, last=True),
        whole(7, "Three"),
    )
    words = [
        [part.stream.text for part in turn.answer.parts if part.stream is not None]
        for turn in turns
    ]
    assert words == [["One"], ["Two"], ["Three"]]
    assert [turn.answer.messages for turn in turns] == [2, 2, 1]


def test_an_answer_to_what_is_not_here_is_one_all_the_same() -> None:
    streamed = [chunk(1, "cau", 2), chunk(2, "se.", 3, last=True), whole(3, "Because.")]
    (turn,) = given_by(*streamed)
    assert (turn.is_request, turn.reply_to, turn.asked_n) == (False, "q", None)
    assert [part.type for part in turn.answer.parts] == ["chat_stream", "chat_receive"]
    text = "".join(transcript(None, streamed))
    assert "MegaBot, to a request that is not here" in text


def test_chunks_that_name_nobody_are_one_answer_before_anything_was_asked() -> None:
    payload = {"chunk": "a", "sequence": 4, "is_complete": False}
    first = said(1, "to_client", "chat_stream", payload)
    last = {"chunk": "b", "sequence": 5, "is_complete": True}
    found = given_by(first, said(2, "to_client", "chat_stream", last), asked(3, "?"), whole(4, "!"))
    assert [(turn.is_request, turn.belongs) for turn in found] == [(False, True), (True, False)]
    assert found[0].answer.parts[0].stream is not None
    assert found[0].answer.parts[0].stream.text == "ab"


def test_what_comes_after_its_turn_was_given_names_it() -> None:
    late = said(9, "to_client", "notification", {}, reply_to="q")
    first, second = given_by(asked(1, "?"), whole(2, "!"), late)
    assert (first.is_request, second.asked_n) == (True, first.record.n)
    assert "MegaBot, to an earlier request" in "".join(
        transcript(None, [asked(1, "?"), whole(2, "!"), late])
    )


def test_a_tool_call_of_what_is_not_here_goes_on_after_its_result() -> None:
    call = {"tool_name": "clock", "parameters": {}, "execution_id": "e1"}
    (turn,) = given_by(
        said(1, "to_client", "tool_call", call, reply_to="q"),
        said(2, "to_upstream", "tool_result", {"execution_id": "e1"}),
        chunk(3, "Noon.", 1, last=True),
    )
    assert [part.type for part in turn.answer.parts] == ["tool_call", "tool_result", "chat_stream"]


def test_one_id_of_several_clients_is_several_questions_answered_in_turn() -> None:
    """A relay in mode `shared` sends the second when the first has been answered."""
    refused = said(45, "to_client", "connection_error", {"code": 429}, reply_to="q", client="d")
    refused.kind = "inject"
    found = given_by(
        *(asked(1 + n, f"of {name}", client=name) for n, name in enumerate("abcd")),
        *(chunk(10, "to", 1), chunk(20, " a", 2, last=True), whole(30, "to a"), whole(40, "to b")),
        *(refused, chunk(50, "to c", 1, last=True)),
    )
    told = [(turn.payload["content"], turn.record.client, turn.answer.messages) for turn in found]
    assert told == [("of a", "a", 3), ("of b", "b", 1), ("of c", "c", 1), ("of d", "d", 1)]
    assert [turn.refused for turn in found] == [False, False, False, True]


def test_what_comes_late_for_a_client_is_not_the_answer_to_another_with_its_id() -> None:
    turns = given_by(
        asked(1, "Never answered", "other", client="ann"),  # holds the rest up
        asked(2, "From ann", client="ann"),
        said(3, "to_client", "chat_receive", {"content": "A"}, reply_to="q", client="ann"),
        asked(4, "From ben", client="ben"),
        said(5, "to_client", "status_update", {"status": "late"}, reply_to="q", client="ann"),
        said(6, "to_client", "chat_receive", {"content": "B"}, reply_to="q", client="ben"),
    )
    came = {turn.record.n: [part.type for part in turn.answer.parts] for turn in turns}
    assert came[5] == ["chat_receive"]


def plain(t_ms: int, direction: str, text: str, kind: str = "message") -> Record:
    known = json.loads(text)["type"] if text[0] == "{" else None
    return Record(
        n=t_ms + 1, t=t_ms * 1000, kind=kind, direction=direction, type=known, link="link_1",
        data=text,
    )  # fmt: skip


def test_a_flat_question_is_answered_by_the_next_message_of_the_type_that_answers_it() -> None:
    turns = given_by(
        plain(1, "to_upstream", '{"type":"message","content":"Why?"}'),
        plain(2, "to_upstream", '{"type":"set_mode","mode":"fast"}'),
        plain(3, "to_upstream", "no JSON"),
        plain(4, "to_client", '{"type":"mode_updated","mode":"fast"}'),
        plain(5, "to_client", '{"type":"status","content":"another\'s was approved"}'),
        plain(6, "to_client", '{"type":"message","content":"Welcome, another"}', "inject"),
        plain(7, "to_client", "Error 400: no JSON"),
        plain(8, "to_client", '{"type":"message","content":"Because."}'),
    )
    came = {turn.record.n: [part.payload for part in turn.answer.parts] for turn in turns}
    assert came[2] == [{"type": "message", "content": "Because."}]
    assert came[3] == [{"type": "mode_updated", "mode": "fast"}]
    assert came[4] == ["Error 400: no JSON"]
    assert [turn.record.n for turn in turns if not turn.is_request] == [6, 7]


def test_the_first_flat_message_on_a_link_that_opened_greets_whatever_was_said_before_it() -> None:
    opened = [
        Record(n=1, t=1, kind="open", client="ann", link="link_1"),  # one that it has for itself
        Record(n=2, t=2, kind="open", link="link_2"),  # one that stays
        Record(n=3, t=3, kind="open", client="ben", link="link_2"),
    ]
    talk = [
        plain(4, "to_upstream", '{"type":"message","content":"Why?"}'),
        plain(5, "to_client", '{"type":"message","content":"Hello"}'),
        plain(6, "to_client", '{"type":"message","content":"Because."}'),
    ]
    for link in ("link_1", "link_2"):
        for record in talk:
            record.link = link
        question, greeting = given_by(*opened, *talk)
        assert [part.payload["content"] for part in question.answer.parts] == ["Because."]
        assert not greeting.is_request
        ben_is_late = Record(n=8, t=8000, kind="open", client="ben", link=link)
        after = [plain(9, "to_upstream", '{"type":"message","content":"And?"}'),
                 plain(10, "to_client", '{"type":"message","content":"So."}')]  # fmt: skip
        for record in after:
            record.link = link
        if link == "link_2":
            *_, last = given_by(*opened, *talk, ben_is_late, *after)
            assert [part.payload["content"] for part in last.answer.parts] == ["So."]


def test_a_refusal_that_names_nothing_is_for_the_message_that_has_no_name() -> None:
    turns = given_by(
        asked(1, "Why?"),
        chunk(2, "Be", 1),
        plain(3, "to_upstream", "no JSON"),
        said(4, "to_client", "connection_error", {"code": 400}),
        chunk(5, "cause.", 2, last=True),
    )
    question, broken = turns
    assert [part.type for part in question.answer.parts] == ["chat_stream"]
    assert question.answer.is_whole
    assert [part.type for part in broken.answer.parts] == ["connection_error"]


def test_a_question_without_an_answer_holds_nothing_up_for_ever() -> None:
    turns = Turns()
    assert list(turns.take(asked(0, "lost", "a"))) == []
    assert list(turns.take(asked(1000, "two", "b"))) == []
    given = list(turns.take(whole(turns_module.SILENT_US // 1000 + 2000, "2", "b")))
    assert [turn.payload["content"] for turn in given] == ["lost", "two"]


def test_never_more_than_so_many_turns_are_open() -> None:
    turns = Turns()
    count = turns_module.MOST_OPEN + 50
    given = [turn for n in range(count) for turn in turns.take(asked(n, "?", f"q{n}"))]
    assert len(given) == 50


def test_greetings_and_progress_take_one_line_each() -> None:
    hello = said(1, "to_client", "connection_established", {"session_id": "s"}, session="s")
    again = said(2, "to_client", "connection_established", {"session_id": "s"}, session="s")
    again.kind = "inject"
    at_work = {"status": "thinking", "progress": 0.5, "message": "half *way*"}
    text = "".join(
        transcript(HEADER, [hello, again, asked(3, "?"),
                            said(4, "to_client", "status_update", at_work, reply_to="q")])
    )  # fmt: skip
    assert text.count("connected (session `s`)") == 1
    assert "\n- status: thinking 50% half \\*way\\*\n" in text


def test_what_is_said_cannot_pass_for_structure() -> None:
    text = "".join(transcript(None, [asked(1, "hello\n## MegaBot\n```"), whole(2, "<img src=x>")]))
    assert "\n> ## MegaBot\n> ```\n" in text
    assert text.count("\n## ") == 1


def test_chunks_that_did_not_come_are_told() -> None:
    text = "".join(transcript(HEADER, [asked(1, "Why?"), chunk(2, "Be", 1), chunk(3, "e.", 3)]))
    assert ", of which 1 chunk did not come, which breaks off:\n\n> Bee.\n" in text


def test_losses_and_marks_are_told() -> None:
    text = "".join(
        transcript(None, [Record(n=1, t=0, kind="gap", lost=7),
                          Record(n=2, t=5, kind="mark", note="*now*")])
    )  # fmt: skip
    assert "7 records are missing here" in text
    assert "mark: \\*now\\*" in text


@thorough
@given(st.lists(records, max_size=6))
def test_any_records_make_a_transcript(some: list[Record]) -> None:
    assert "".join(transcript(None, some)).startswith("# Conversation")


def flat_message(
    t_ms: int, direction: Any, content: str, client: str, kind: Any = "message"
) -> Record:
    return Record(
        n=t_ms + 1, t=t_ms * 1000, kind=kind, direction=direction, type="message", link="link_1",
        client=client, data=json.dumps({"type": "message", "content": content}),
    )  # fmt: skip


def test_the_greeting_of_a_flat_client_that_comes_answers_nobody() -> None:
    one, greeting, two = given_by(
        flat_message(0, "to_upstream", "one?", "ann"),
        flat_message(1, "to_client", "Hello", "bob", "inject"),
        flat_message(2, "to_upstream", "two?", "bob"),
        flat_message(5, "to_client", "one", "ann"),
        flat_message(9, "to_client", "two", "bob"),
    )
    assert [part.payload["content"] for part in one.answer.parts] == ["one"]
    assert one.refused is False
    assert [part.payload["content"] for part in two.answer.parts] == ["two"]
    assert greeting.is_request is False


def test_of_several_flat_clients_an_answer_goes_to_the_one_that_it_names() -> None:
    ann, bob = given_by(
        flat_message(0, "to_upstream", "one?", "ann"),
        flat_message(1, "to_upstream", "two?", "bob"),
        flat_message(5, "to_client", "two", "bob"),
        flat_message(6, "to_client", "one", "ann"),
    )
    assert [part.payload["content"] for part in ann.answer.parts] == ["one"]
    assert [part.payload["content"] for part in bob.answer.parts] == ["two"]


def refused_binary() -> tuple[Record, Record]:
    """The message, and what refuses it without a name."""
    binary = Record(
        n=111, t=110_000, kind="message", direction="to_upstream", link="link_1",
        opcode="binary", size=1, data_b64="AA==",
    )  # fmt: skip
    return binary, said(120, "to_client", "connection_error", {"code": 400, "error": "invalid"})


def test_what_refuses_a_binary_message_is_no_answer_to_what_is_asked_meanwhile() -> None:
    binary, refusal = refused_binary()
    earlier = (asked(10, "First?", "q0"), whole(20, "Yes.", to="q0"))
    turns = given_by(*earlier, asked(100, "Why?"), binary, refusal, whole(500, "Because."))
    answers = {turn.record.n: [part.type for part in turn.answer.parts] for turn in turns}
    answered = {11: ["chat_receive"], 101: ["chat_receive"]}
    assert answers == {**answered, 111: [], 121: ["connection_error"]}
    told = turns[-1]
    assert (told.belongs, told.asked_n) == (True, 111)


def test_what_refuses_a_binary_message_is_no_answer_to_a_flat_one() -> None:
    def flat(t: int, direction: str, text: str, **fields: Any) -> Record:
        return Record(
            n=t + 1, t=t * 1000, kind="message", direction=direction, link="link_1", data=text,
            **fields,
        )  # fmt: skip

    binary = flat(110, "to_upstream", "", opcode="binary", data_b64="AA==")
    binary.data = None
    turns = given_by(
        flat(100, "to_upstream", '{"type":"message","content":"Why?"}', type="message"),
        binary,
        flat(120, "to_client", "Error 400: $: expected JSON as text, got binary data"),
        flat(500, "to_client", '{"type":"message","content":"So."}', type="message"),
    )
    told = [(turn.record.n, turn.asked_n) for turn in turns]
    assert told == [(101, None), (111, None), (121, 111)]
    assert [part.type for part in turns[0].answer.parts] == ["message"]


def test_of_an_upstream_that_names_nothing_the_request_under_way_is_refused() -> None:
    binary, refusal = refused_binary()
    turns = given_by(asked(100, "Why?"), binary, refusal)
    assert [(turn.record.n, len(turn.answer.parts)) for turn in turns] == [(101, 1), (111, 0)]
