"""The JSON Schema of the recording format: what a line of a segment may hold."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from megabot_cli.recording.format_v1 import FORMAT, VERSION, End, Header
from megabot_cli.recording.record import KINDS, Record

_REQUIRED = {"Header": ["format", "version", "recording"], "End": ["n", "t", "kind"]}


def format_schema() -> str:
    """The schema as text. A line is a header (the first), a record, or an end (the last).

    Later minor versions add keys and kinds, so neither is closed.
    """
    (_, _, _), parts = msgspec.json.schema_components(
        (Header, Record, End), ref_template="#/$defs/{name}"
    )
    parts["Header"]["properties"]["format"] = {"const": FORMAT}
    parts["Header"]["properties"]["version"] = {"type": "string", "pattern": r"^1\.[0-9]{1,6}$"}
    record = parts["Record"]["properties"]
    kinds = [kind for kind in KINDS if kind != "end"]
    record["kind"] |= {"examples": kinds, "not": {"const": "end"}}
    record["direction"] = {"enum": ["to_upstream", "to_client"]}
    parts["End"]["properties"]["kind"] = {"const": "end"}
    for name, required in _REQUIRED.items():
        parts[name]["required"] = required
    for name, part in parts.items():
        part.pop("title", None)
        part["description"] = " ".join(part["description"].split())
        for field in part["properties"].values():
            field.pop("default", None)
            if name != "Header":  # which has all of its keys
                _without_null(field)
    whole: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of a {FORMAT} {VERSION}",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("Header", "Record", "End")],
        "$defs": parts,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _without_null(field: dict[str, Any]) -> None:
    """What is not known is not written: no key is null."""
    choices = [each for each in field.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) == 1:
        del field["anyOf"]
        field.update(choices[0])
