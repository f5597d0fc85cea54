"""Fill `${text}`, `${result.key}` and the like into what a step says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

# What is known of every event; results of tools come to it.
GIVEN = ("id", "type", "text", "session", "user", "nth")

_NAME = re.compile(r"\$\{([A-Za-z_][\w-]*)((?:\.[\w-]+)*)\}")


def fill(content: Any, values: Mapping[str, Any]) -> Any:
    """`content` with the names in its texts replaced; what is not there becomes nothing.

    A text that is one name alone becomes the value itself, of whatever kind.
    """
    if isinstance(content, str):
        alone = _NAME.fullmatch(content)
        if alone is not None:
            return _value(alone, values)
        return fill_text(content, values)
    if isinstance(content, dict):
        return {key: fill(value, values) for key, value in content.items()}
    if isinstance(content, list):
        return [fill(value, values) for value in content]
    return content


def fill_text(text: str, values: Mapping[str, Any]) -> str:
    return _NAME.sub(lambda found: _shown(_value(found, values)), text)


def names_in(content: Any) -> Iterator[str]:
    """The names that `content` wants filled in, without what follows a dot."""
    if isinstance(content, str):
        for found in _NAME.finditer(content):
            yield found[1]
    elif isinstance(content, dict):
        for value in content.values():
            yield from names_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from names_in(value)
    elif isinstance(content, msgspec.Struct):
        yield from names_in(msgspec.structs.asdict(content))


def _value(found: re.Match[str], values: Mapping[str, Any]) -> Any:
    value: Any = values.get(found[1])
    for key in found[2].split(".")[1:]:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
