"""A conversation becomes a Python file that says what was recorded and runs nothing of it."""

from __future__ import annotations

import ast
import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.errors import BadData, ConnectionLost, MegabotError, TimedOut
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.pytest_text import PytestWriter
from megabot_cli.recording.record import Record
from tests.recording.arbitrary import any_texts, thorough
from tests.recording.test_transcript import asked, chunk, said, whole


def made_of(*some: Record, allow_tools: bool = False, upstream: str = "") -> str:
    writer = PytestWriter("exact", allow_tools=allow_tools)
    return "".join(writer.write(Header(recording="r", upstream=upstream), some))


def calls(text: str) -> list[tuple[str, list[Any]]]:
    """What `conversation` calls, in order, with the arguments that are literals."""
    body = next(
        each for each in ast.parse(text).body
        if isinstance(each, ast.AsyncFunctionDef) and each.name == "conversation"
    )  # fmt: skip
    return [
        (node.func.attr, [ast.literal_eval(each) for each in node.args])
        for node in ast.walk(body)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]


class Raising:
    """A client of whose requests nothing becomes but this fault."""

    def __init__(self, fault: MegabotError) -> None:
        self._fault = fault
        self.asked: list[str] = []
        self.patience_s: list[float] = []

    async def request(self, _kind: str, payload: Any, *, timeout_s: float, **_: Any) -> None:
        self.asked.append(payload["content"])
        self.patience_s.append(timeout_s)
        raise self._fault


def test_requests_are_sent_in_their_order() -> None:
    text = made_of(
        asked(1, "Why?"), chunk(2, "Be", 1), chunk(3, "cause", 2, last=True), asked(9, "And?", "z"),
        whole(10, "So.", "z"), asked(20, "Bye.", "y"),
    )  # fmt: skip
    assert calls(text) == [
        ("request", ["chat_send", {"content": "Why?"}]),
        ("request", ["chat_send", {"content": "And?"}]),
        ("send", ["chat_send", {"content": "Bye."}]),
    ]
    assert "['chat_stream', 'Because']" in text


def test_what_cannot_be_decoded_is_sent_as_it_was_written() -> None:
    half = '{"id":"q","type":"chat_send","payload":{"content":"\\ud800"}}'
    record = Record(
        n=1, t=1, kind="message", direction="to_upstream", id="q", type="chat_send", data=half
    )
    assert calls(made_of(record, whole(2, "What?"))) == [("send_text", [half])]


def test_a_refusal_is_expected_again() -> None:
    refusal = {"error": "no", "code": 400}
    text = made_of(asked(1, "?"), said(2, "to_client", "connection_error", refusal, reply_to="q"))
    assert "with pytest.raises(MegabotError) as refused:" in text


def test_an_upstream_that_falls_silent_is_no_refusal() -> None:
    refusal = {"error": "no", "code": 400}
    text = made_of(asked(1, "?"), said(2, "to_client", "connection_error", refusal, reply_to="q"))
    names: dict[str, Any] = {}
    exec(compile(text, "made", "exec"), names)  # noqa: S102  it defines functions alone

    for fault in (TimedOut("no answer"), ConnectionLost("gone")):
        with pytest.raises(AssertionError):
            asyncio.run(names["conversation"](Raising(fault)))
    asyncio.run(names["conversation"](Raising(BadData("no"))))


def test_an_answer_that_broke_off_need_not_end_now() -> None:
    later = asked(9, "And?", "z"), whole(10, "So.", "z")
    text = made_of(asked(1, "Why?"), chunk(2, "Be", 1), *later)
    names: dict[str, Any] = {}
    exec(compile(text, "made", "exec"), names)  # noqa: S102  it defines functions alone
    silent = Raising(TimedOut("no whole answer"))
    with pytest.raises(TimedOut):  # of the second question
        asyncio.run(names["conversation"](silent))
    assert silent.asked == ["Why?", "And?"]
    assert silent.patience_s[0] <= 6


def test_an_answer_that_may_name_nobody_is_known_by_its_type() -> None:
    join = said(1, "to_upstream", "session_join", {"session_id": "s"}, id="j")
    text = made_of(join, said(2, "to_client", "session_state", {"who": []}, reply_to="j"))
    assert "until='session_state'" in text


def test_tool_calls_are_sent_only_when_allowed() -> None:
    call = said(1, "to_upstream", "tool_call", {"tool_name": "rm", "execution_id": "e"})
    assert calls(made_of(call)) == []
    assert [name for name, _ in calls(made_of(call, allow_tools=True))] == ["send"]


def test_tools_of_the_client_give_what_they_gave() -> None:
    call = {"tool_name": "clock", "parameters": {}, "execution_id": "e1"}
    text = made_of(
        asked(1, "Time?"),
        said(2, "to_client", "tool_call", call, reply_to="q"),
        said(3, "to_upstream", "tool_result", {"execution_id": "e1", "result": [12]}),
        whole(4, "Noon."),
    )
    assert "TOOLS = {'clock': [[12]]}" in text


def test_a_tool_that_failed_fails_again() -> None:
    call = {"tool_name": "deploy", "parameters": {}, "execution_id": "e1"}
    failed = {"execution_id": "e1", "status": "failed", "result": None, "output": 'no "key"'}
    text = made_of(
        asked(1, "Go."),
        said(2, "to_client", "tool_call", call, reply_to="q"),
        said(3, "to_upstream", "tool_result", failed),
        whole(4, "Not out."),
    )
    names: dict[str, Any] = {}
    exec(compile(text, "made", "exec"), names)  # noqa: S102  it defines functions alone
    with pytest.raises(names["Failed"], match='no "key"'):
        names["give"](names["TOOLS"]["deploy"])(where="there")
    assert names["give"]([1, 2])(any=3) == 1


def test_depth_is_no_trouble() -> None:
    deep = '{"id":"q","type":"x","payload":' + "[" * 300 + "]" * 300 + "}"
    record = Record(n=1, t=1, kind="message", direction="to_upstream", data=deep)
    compile(made_of(record), "deep", "exec")


@thorough
@given(st.lists(any_texts, min_size=1, max_size=4), any_texts)
def test_any_words_are_literals_and_nothing_else(texts: list[str], upstream: str) -> None:
    some = [asked(n, text, f"q{n}") for n, text in enumerate(texts)]
    some.append(Record(n=99, t=10**6, kind="message", direction="to_upstream", data=texts[0]))
    answers = [whole(100 + n, text, f"q{n}") for n, text in enumerate(texts)]
    text = made_of(*some, *answers, upstream=upstream)
    names = {name for name, _ in calls(text)}
    assert names <= {"request", "send", "send_text"}
    assert not any(ord(sign) < 32 and sign != "\n" for sign in text)


def test_a_chunk_that_is_none_is_a_message_like_any_other() -> None:
    odd = said(2, "to_client", "chat_stream", {"no": "chunk"}, reply_to="q")
    text = made_of(asked(1, "Why?"), odd, chunk(3, "So", 1), chunk(4, ".", 2, last=True))
    assert "['chat_stream', {'no': 'chunk'}]" in text
    assert "['chat_stream', 'So.']" in text
    names: dict[str, Any] = {}
    exec(compile(text, "made", "exec"), names)  # noqa: S102  it defines functions alone
    messages = [odd.data, chunk(3, "So", 1).data, chunk(4, ".", 2, last=True).data]
    answer = SimpleNamespace(messages=messages)
    assert names["steps"](answer) == [["chat_stream", {"no": "chunk"}], ["chat_stream", "So."]]
    names["steps"](SimpleNamespace(messages=['{"type":"chat_receive","payload":"no object"}']))
