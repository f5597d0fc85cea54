from __future__ import annotations

import pytest
from hypothesis import given

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.layout import parse_fields, parse_template
from megabot_cli.recording.record import Record
from tests.recording.arbitrary import any_texts, records, thorough

MESSAGE = Record(
    n=7, t=1, kind="message", type="x", id="m", data='{"id":"m","payload":{"a":{"b":[1]},"c":"d"}}'
)


def line(template: str) -> str:
    return parse_template(template).line(MESSAGE, 0.0, "here", str)


def test_fields_stand_where_the_braces_are() -> None:
    assert line("{n} {type}: {payload.c}") == "7 x: d"
    assert line("{{{id}}}\\t{source}") == "{m}\there"
    assert line("{payload.a} {payload.a.b} {payload.nothing}{session}") == '{"b": [1]} [1] '
    assert line("{time}").startswith("19")


def test_facts_keep_their_values() -> None:
    found = parse_fields("n, payload.a.b,size").facts(MESSAGE, 0.0, None)
    assert found == {"n": 7, "payload.a.b": [1], "size": None}


@pytest.mark.parametrize("text", ["", "n,", "payload.", "payload..a", "n.x", "Type", "a b"])
def test_what_is_no_field_is_refused(text: str) -> None:
    with pytest.raises(WrongUsage):
        parse_fields(text)


@thorough
@given(records, any_texts)
def test_any_record_can_be_laid_out(record: Record, text: str) -> None:
    everything = parse_fields("n,kind,type,payload,payload.a,metadata.b,text,redacted,time,source")
    everything.line(record, 0.0, text, str)
    everything.facts(record, 0.0, None)


def test_a_row_of_few_fields_has_them_all_listed_beside_the_guess() -> None:
    with pytest.raises(WrongUsage) as refused:
        parse_fields("recording", ("id", "records"))
    assert refused.value.hint == "Did you mean records? There are id, records."
