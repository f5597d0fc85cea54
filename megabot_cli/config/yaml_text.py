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
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise BadConfiguration(
                f"{file}: the file holds no settings", "Write `name: value`, one a line."
            )
        lines = _lines(node, (), file)
        values = loader.construct_document(node)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        raise BadConfiguration(
            f"{place}: {fault.problem or 'not YAML'}", "Check indentation, colons and quotes."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise BadConfiguration(f"{file}: {str(fault).splitlines()[0]}") from None
    return values, lines


def _lines(node: yaml.MappingNode, at: Path, file: str) -> dict[Path, int]:
    found: dict[Path, int] = {}
    for key, value in node.value:
        path = (*at, str(key.value))
        line = key.start_mark.line + 1
        if path in found:
            raise BadConfiguration(
                f"{file}:{line}: {'.'.join(path)} is set twice; the first is on line {found[path]}",
                "Remove one of them.",
            )
        found[path] = line
        found |= _lines_inside(value, path, file)
    return found


def _lines_inside(node: yaml.Node, at: Path, file: str) -> dict[Path, int]:
    if isinstance(node, yaml.MappingNode):
        return _lines(node, at, file)
    found: dict[Path, int] = {}
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            found[(*at, str(index))] = item.start_mark.line + 1
            found |= _lines_inside(item, (*at, str(index)), file)
    return found
