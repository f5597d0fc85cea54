"""Read the text of a configuration file: the values, and the line each one stands on."""

from __future__ import annotations

from typing import Any

import yaml

from megabot_cli.config.catalogue import Path
from megabot_cli.errors import BadConfiguration


def parse_yaml(text: str, file: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """Return the file's values and the line (from 1) of each key and list item, by its path.

    An item's place in the path is its index, as text.

    A section without anything in it is an empty one. BadConfiguration names the file and
    the line of what is no YAML, no mapping, or said twice.
    """
    values, lines, repeated = parse_liberally(text, file)
    if repeated:
        raise repeated[0]
    return values, lines


def parse_liberally(
    text: str, file: str
) -> tuple[dict[str, Any], dict[Path, int], list[BadConfiguration]]:
    """As `parse_yaml`, with what is said twice as a list: the last one is the value."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return {}, {}, []
        if not isinstance(node, yaml.MappingNode):
            raise BadConfiguration(
                f"{file}: the file holds no settings", "Write `name: value`, one a line."
            )
        places = _Places(file)
        places.look_at(node, ())
        values = loader.construct_document(node)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        raise BadConfiguration(
            f"{place}: {fault.problem or 'not YAML'}", "Check indentation, colons and quotes."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise BadConfiguration(f"{file}: {str(fault).splitlines()[0]}") from None
    return values, places.lines, places.repeated


class _Places:
    """Where each key stands."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.lines: dict[Path, int] = {}
        self.repeated: list[BadConfiguration] = []

    def look_at(self, node: yaml.Node, at: Path) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                path = (*at, str(key.value))
                self._note(path, key.start_mark.line + 1)
                self.look_at(value, path)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                path = (*at, str(index))
                self.lines[path] = item.start_mark.line + 1
                self.look_at(item, path)

    def _note(self, path: Path, line: int) -> None:
        first = self.lines.get(path)
        self.lines[path] = line
        if first is not None:
            text = f"{self._file}:{line}: {'.'.join(path)} is set twice"
            self.repeated.append(
                BadConfiguration(f"{text}; the first is on line {first}", "Remove one of them.")
            )
