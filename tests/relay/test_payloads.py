from __future__ import annotations

import pytest

from megabot_cli.relay.payloads import Keys, read_keys


@pytest.mark.parametrize(
    ("payload", "keys"),
    [
        ('{"execution_id":"e1","task_id":7}', Keys(execution_id="e1")),
        ('{"execution_id":null,"stream_id":"s1","task_id":["t"]}', Keys(stream_id="s1")),
        ('{"execution_id":"e1","task_id":"t1"}', Keys("e1", "t1")),
        ('{"execution_id":{"id":"e1"}}', Keys()),
        ('["execution_id","e1"]', Keys()),
        ("null", Keys()),
    ],
)
def test_a_key_that_is_no_string_hides_no_other(payload: str, keys: Keys) -> None:
    assert read_keys(f'{{"id":"m1","type":"tool_call","payload":{payload}}}'.encode()) == keys


@pytest.mark.parametrize("text", [b"", b"Error", b'{"id":"m1"}', b'{"payload":{"task_id":"t'])
def test_what_has_no_payload_or_cannot_be_read_has_no_keys(text: bytes) -> None:
    assert read_keys(text) == Keys()
