"""The published schema says of an index what the reader says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from megabot_cli.recording.index_schema import index_schema
from megabot_cli.recording.segment_index import BadIndex, decode_index

GOLDEN = Path(__file__).parents[1] / "golden" / "index_1_0" / "000001.index"
CHECKER = jsonschema.Draft202012Validator(json.loads(index_schema()))


def golden(**changed: Any) -> dict[str, Any]:
    return {**json.loads(GOLDEN.read_bytes()), **changed}


def test_the_schema_is_one() -> None:
    CHECKER.check_schema(CHECKER.schema)


def test_the_golden_index_is_valid_also_of_a_later_minor_version() -> None:
    CHECKER.validate(golden())
    CHECKER.validate(golden(version="1.7", more=1))


@pytest.mark.parametrize(
    "changed",
    [
        {"format": "megabot-recording"},
        {"version": "2.0"},
        {"bytes": -1},
        {"blocks": [{"at": 1}]},
        {"values": {"type": [3]}},
    ],
)
def test_what_the_reader_refuses_is_not_valid(changed: dict[str, Any]) -> None:
    assert not CHECKER.is_valid(golden(**changed))
    with pytest.raises(BadIndex):
        decode_index(json.dumps(golden(**changed)).encode())
