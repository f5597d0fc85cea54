"""The published schema says of lines what the reader says of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from megabot_cli.recording.format_schema import format_schema

GOLDEN = Path(__file__).parents[1] / "golden" / "recording_1_0"
CHECKER = jsonschema.Draft202012Validator(json.loads(format_schema()))


def golden_lines() -> list[dict[str, Any]]:
    lines = []
    for path in sorted(GOLDEN.rglob("*.jsonl*")):
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        for line in text.splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue  # torn, as the golden unclean one is
    return lines


def test_the_schema_is_one() -> None:
    CHECKER.check_schema(CHECKER.schema)


def test_every_golden_line_is_valid_also_of_a_later_minor_version() -> None:
    lines = golden_lines()
    assert len(lines) > 30
    for line in lines:
        CHECKER.validate(line)


@pytest.mark.parametrize(
    "line",
    [
        {"n": 0, "t": 1, "kind": "message"},
        {"n": 1, "kind": "message"},
        {"n": 1, "t": 1, "kind": "message", "direction": "sideways"},
        {"n": 1, "t": 1, "kind": "message", "data": {"not": "text"}},
        {"n": 1, "t": 1, "kind": "message", "client": None},
        {"format": "megabot-recording", "version": "2.0", "recording": "rec_1"},
        [],
    ],
)
def test_what_is_no_line_is_invalid(line: Any) -> None:
    assert not CHECKER.is_valid(line)
