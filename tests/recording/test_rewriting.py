from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.ids import Prefix
from megabot_cli.recording.rewriting import (
    IdMap,
    _edits,
    _sought_edits,
    filled_all,
    rewrite,
    template_of,
)
from tests.recording.arbitrary import any_texts, thorough

NOW_S = 1_800_000_000.25


def ids() -> IdMap:
    numbers = count(1)

    def new_id(prefix: Prefix) -> str:
        return f"{prefix}_new{next(numbers)}"

    return IdMap(new_id)


def test_only_ids_and_the_timestamp_change() -> None:
    text = (
        '{ "type":"chat_send", "id":"m1", "timestamp": 1700000000.5,\n'
        '"payload":{"content":"m1","big":12345678901234567890,"n":1.0e2,"id":"m1"},"x":1,"x":2 }'
    )
    assert rewrite(text, ids(), NOW_S) == text.replace('"id":"m1",', '"id":"msg_new1",', 1).replace(
        "1700000000.5", "1800000000.250"
    )


def test_a_later_reference_names_the_fresh_id() -> None:
    known = ids()
    known.learn("sess_old", "sess_now")
    call = '{"id":"m1","type":"tool_call","payload":{"execution_id":"e1","tool_name":"x"}}'
    result = (
        '{"id":"m2","type":"tool_result","payload":{"execution_id":"e1"},'
        '"metadata":{"reply_to":"m1","session_id":"sess_old","user_id":"m1"}}'
    )
    assert json.loads(rewrite(call, known, NOW_S)) == {
        "id": "msg_new1",
        "type": "tool_call",
        "payload": {"execution_id": "exec_new2", "tool_name": "x"},
    }
    assert json.loads(rewrite(result, known, NOW_S)) == {
        "id": "msg_new3",
        "type": "tool_result",
        "payload": {"execution_id": "exec_new2"},
        "metadata": {"reply_to": "msg_new1", "session_id": "sess_now", "user_id": "m1"},
    }


def test_messages_inside_a_batch_are_made_new_as_well() -> None:
    text = (
        '{"id":"b","type":"batch","timestamp":1,"payload":{"messages":['
        '{"id":"m1","type":"chat_send","payload":{"content":"x"},"timestamp":1700000000123},'
        '{"id":"m2","type":"y","payload":1,"metadata":{"reply_to":"m1"}}]}}'
    )
    assert json.loads(rewrite(text, ids(), NOW_S)) == {
        "id": "msg_new1",
        "type": "batch",
        "timestamp": 1_800_000_000,
        "payload": {
            "messages": [
                {
                    "id": "msg_new2",
                    "type": "chat_send",
                    "payload": {"content": "x"},
                    "timestamp": 1_800_000_000_250,
                },
                {"id": "msg_new3", "type": "y", "payload": 1, "metadata": {"reply_to": "msg_new2"}},
            ]
        },
    }


@pytest.mark.parametrize(
    ("recorded", "now"),
    [
        ("1700000000", "1800000000"),
        ("1700000000.1", "1800000000.250"),
        ("1700000000123", "1800000000250"),
        ("null", "null"),
        ('"2026-11-23T04:12:09Z"', '"2026-11-23T04:12:09Z"'),
    ],
)
def test_time_moves_in_the_unit_it_was_written_in(recorded: str, now: str) -> None:
    text = '{"id":"m","type":"t","payload":1,"timestamp":%s}'
    assert rewrite(text % recorded, ids(), NOW_S) == (text % now).replace('"m"', '"msg_new1"')


@pytest.mark.parametrize(
    "text", ["hello", '{"type":"message","content":"hi"}', "[1]", '{"id":1,"type":"x"}', ""]
)
def test_what_is_no_envelope_is_sent_as_it_is(text: str) -> None:
    assert rewrite(text, ids(), NOW_S) == text


@thorough
@given(any_texts)
def test_any_text_can_be_made_new(text: str) -> None:
    rewrite('{"id":"m","type":"t","payload":' + text, ids(), NOW_S)
    assert isinstance(rewrite(text, ids(), NOW_S), str)


_tricky = st.sampled_from(
    ["m1", "e1", "old", 'say "id":"m1"', '"id"', '{"id":"m1","timestamp":1}', "ü\n", "\\"]
)
_values = _tricky | st.integers() | st.none() | st.lists(_tricky, max_size=2)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_payloads = _object(
    content=_values,
    execution_id=_values,
    session_id=_values,
    id=_values,
    timestamp=_values,
    more=_object(id=_values, task_id=_values, payload=_object(id=_values)),
)
_messages = st.fixed_dictionaries(
    {"id": st.sampled_from(["m1", 'q"1', "ü"]), "type": st.sampled_from(["tool_call", "x"])},
    optional={
        "payload": _payloads | _values,
        "metadata": _object(reply_to=_values, session_id=_values, user_id=_values),
        "timestamp": st.sampled_from([1, 1700000000.5, 1700000000123, None, "now", [1]]),
        "execution_id": _values,
    },
)


@thorough
@given(
    _messages.flatmap(lambda fields: st.permutations(list(fields.items()))),
    st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}, {"ensure_ascii": False}]),
)
def test_values_sought_in_the_text_are_those_that_a_walk_meets(
    fields: list[tuple[str, Any]], form: dict[str, Any]
) -> None:
    text = json.dumps(dict(fields), **form)
    kind = dict(fields)["type"]

    def known() -> IdMap:
        made = IdMap(lambda prefix: f"{prefix}_now")
        made.learn("old", "new")
        return made

    sought = _sought_edits(text, known(), NOW_S)
    met = list(_edits(text, kind, known(), NOW_S))
    assert sought is None or sought == [edit for edit in met if text[edit[0] : edit[1]] != edit[2]]


def test_an_ordinary_message_needs_no_walk() -> None:
    for form in ({"separators": (",", ":")}, {}):
        text = json.dumps(
            {
                "id": "m1",
                "type": "tool_call",
                "payload": {"execution_id": "e1", "tool_name": "x", "parameters": {"id": "m1"}},
                "timestamp": 1640995200,
                "metadata": {"reply_to": "old"},
            },
            **form,  # type: ignore[arg-type]
        )
        known = IdMap(lambda prefix: f"{prefix}_now")
        known.learn("old", "new")
        edits = _sought_edits(text, known, NOW_S)
        assert edits is not None
        assert [value for _, _, value in edits] == ["msg_now", "exec_now", "1800000000", "new"]


@thorough
@given(
    _messages.flatmap(lambda fields: st.permutations(list(fields.items()))),
    st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}, {"ensure_ascii": False}]),
)
def test_a_message_made_new_the_quick_way_is_the_one_that_is_rewritten(
    fields: list[tuple[str, Any]], form: dict[str, Any]
) -> None:
    text = json.dumps(dict(fields), **form)
    template = template_of(text)
    if template is not None:
        assert filled_all([(template, text)], ["msg_new1"], NOW_S) == [rewrite(text, ids(), NOW_S)]


def test_an_ordinary_question_goes_the_quick_way_and_what_names_others_does_not() -> None:
    for form in ({"separators": (",", ":")}, {}):
        question = {"id": "m1", "type": "chat_send", "payload": {"content": "m1"}, "timestamp": 1}
        text = json.dumps(question, **form)  # type: ignore[arg-type]
        template = template_of(text)
        assert template is not None
        assert text[template.start : template.end] == "m1"
        (now,) = filled_all([(template, text)], ["msg_new1"], NOW_S)
        assert json.loads(now) == question | {
            "id": "msg_new1",
            "timestamp": 1_800_000_000,
        }
        for more in (
            {"metadata": {"reply_to": "m0"}},
            {"payload": {"execution_id": "e1"}},
            {"type": "batch"},
            {"type": "set_mode"},
            {"session_id": "s"},
        ):
            assert template_of(json.dumps(question | more)) is None
