"""The JSON Schema of the index of a segment: what the file `000001.index` may hold."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from megabot_cli.recording.segment_index import FORMAT, VERSION, SegmentIndex

_REQUIRED = ["format", "version", "bytes", "sha256", "modified_ns", "values", "blocks"]


def index_schema() -> str:
    """The schema as text. Later minor versions add keys and fields, so it is not closed.

    That blocks follow one another, and name values that are there, it cannot say.
    """
    (_,), parts = msgspec.json.schema_components((SegmentIndex,), ref_template="#/$defs/{name}")
    index = parts["SegmentIndex"]
    index["properties"]["format"] = {"const": FORMAT}
    index["properties"]["version"] = {"type": "string", "pattern": r"^1\.[0-9]{1,6}$"}
    index["required"] = _REQUIRED
    for part in parts.values():
        part.pop("title", None)
        part["description"] = " ".join(part["description"].split())
    whole: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A {FORMAT} {VERSION}",
        "$ref": "#/$defs/SegmentIndex",
        "$defs": parts,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
