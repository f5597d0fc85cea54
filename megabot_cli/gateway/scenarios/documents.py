"""Texts made from the declaration: the JSON Schema that editors check a scenario with."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from megabot_cli.gateway.scenarios.declaration import Scenario


def scenario_schema() -> str:
    """The JSON Schema of a scenario file."""
    made = msgspec.json.schema(Scenario)
    definitions: dict[str, Any] = made["$defs"]
    # One word a step: a schema can say it, types cannot.
    definitions["Step"] |= {"minProperties": 1, "maxProperties": 1}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "megabot scenario",
        "$ref": made["$ref"],
        "$defs": {name: _without_null(each) for name, each in definitions.items()},
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _without_null(definition: dict[str, Any]) -> dict[str, Any]:
    """What is left out is null to us; nobody writes it, and no editor should offer it."""
    kept: dict[str, Any] = {}
    for name, value in definition["properties"].items():
        kept[name] = {key: each for key, each in value.items() if (key, each) != ("default", None)}
        if "anyOf" in value:
            kinds = [each for each in value["anyOf"] if each != {"type": "null"}]
            rest = {key: each for key, each in kept[name].items() if key != "anyOf"}
            kept[name] = rest | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})
    return {**definition, "properties": kept}
