"""The log events that stand in the source: name, level, fields, place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "megabot_cli"
_LEVELS = {
    "debug": "debug", "info": "info", "warning": "warning", "error": "error",
    "exception": "error", "critical": "error",
}  # fmt: skip
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")

# What a logger brings along with every line of its object.
BOUND = {"client", "link", "session", "user"}


@dataclass(frozen=True)
class LogCall:
    event: str | None  # None: it is not written where it is logged
    level: str
    fields: frozenset[str]
    spreads: bool  # more fields come from a mapping
    place: str


def log_calls() -> Iterator[LogCall]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (call := _log_call(node, path)) is not None:
                yield call


def _log_call(node: ast.Call, path: Path) -> LogCall | None:
    function = node.func
    if not isinstance(function, ast.Attribute) or function.attr not in _LEVELS or not node.args:
        return None
    first = node.args[0]
    literal = first.value if isinstance(first, ast.Constant) else None
    event = literal if isinstance(literal, str) and EVENT.fullmatch(literal) else None
    if event is None and not ast.unparse(function.value).endswith("log"):
        return None
    names = {"fault" if word.arg == "exc_info" else word.arg for word in node.keywords}
    if function.attr == "exception":
        names.add("fault")
    return LogCall(
        event,
        _LEVELS[function.attr],
        frozenset(name for name in names if name is not None),
        None in names,
        f"{path.relative_to(PACKAGE.parent)}:{node.lineno}",
    )
