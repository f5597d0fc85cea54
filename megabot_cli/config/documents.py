"""Texts made from the settings: the JSON Schema and the commented example file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

import msgspec

from megabot_cli.config.catalogue import PROFILE_PATH, Path, Setting, catalogue, section_notes
from megabot_cli.config.schema import Settings

SCHEMA_URL = "schema.json"  # beside the example file: editors resolve it from there


def json_schema() -> str:
    """The JSON Schema of config.yaml."""
    made = msgspec.json.schema(Settings)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "megabot configuration",
        "$ref": made["$ref"],
        "$defs": {name: _may_be_empty(section) for name, section in made["$defs"].items()},
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _may_be_empty(section: dict[str, Any]) -> dict[str, Any]:
    """A section may stand there with nothing under it, which YAML reads as null."""
    properties = {
        name: _nullable(value) if "$ref" in value or name == "profiles" else value
        for name, value in section["properties"].items()
    }
    return {**section, "properties": properties}


def _nullable(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in value:
        return {"anyOf": [{"$ref": value["$ref"]}, {"type": "null"}]}
    return {
        **value,
        "type": ["object", "null"],
        "additionalProperties": _nullable(value["additionalProperties"]),
    }


def example_file(schema_url: str = SCHEMA_URL) -> str:
    """A configuration file that says everything and sets nothing: all settings commented."""
    return "\n".join(_example_lines(schema_url)) + "\n"


def _example_lines(schema_url: str) -> Iterator[str]:
    yield f"# yaml-language-server: $schema={schema_url}"
    yield "# All settings of megabot with their defaults. Remove the # before one to change it."
    yield "# Later layers win: defaults, this file, the profile, MEGABOT_* variables, flags."
    open_sections: Path = ()
    notes = section_notes()
    for setting in catalogue():
        sections = _shown(setting)[:-1]
        yield ""
        for depth, section in enumerate(sections):
            if sections[: depth + 1] != open_sections[: depth + 1]:
                note = _note(notes, sections[: depth + 1])
                if note:
                    yield f"{'  ' * depth}# {note}"
                yield f"{'  ' * depth}{section}:"
        open_sections = sections
        indent = "  " * len(sections)
        yield from _comment(f"{setting.description} [{setting.variable}]", f"{indent}# ")
        yield f"{indent}#{setting.path[-1]}: {_yaml(setting.default)}  # {setting.constraint}"


def _comment(text: str, prefix: str) -> list[str]:
    return wrap(text, 98, initial_indent=prefix, subsequent_indent=prefix)


def _shown(setting: Setting) -> Path:
    """The path in the example, where the profile is the default one."""
    return tuple("default" if part == "*" else part for part in setting.path)


def _note(notes: dict[Path, str], sections: Path) -> str | None:
    if sections == ("profiles",):
        return "Upstreams by name; -p chooses one."
    if sections[0] == "profiles":
        return notes.get((*PROFILE_PATH, *sections[2:]))
    return notes.get(sections)


def _yaml(value: Any) -> str:
    """A default as YAML; JSON is YAML, and bare words look kinder."""
    if isinstance(value, str) and value.replace("_", "").isalpha() and value not in ("off", "no"):
        return value
    return json.dumps(value)
