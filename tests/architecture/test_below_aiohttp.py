"""What goes below aiohttp's public surface stands in one file, by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tests.architecture.test_floors import FLOORS
from tests.client.test_wire import BELOW

PACKAGE = Path(__file__).parents[2] / "megabot_cli"

TALKING = [room for room, floor in FLOORS.items() if floor >= FLOORS["client"]]

# What aiohttp's own objects have that is not for others.
PRIVATE = {name for names in BELOW.values() for name in names} | {
    name
    for kind in (
        web.WebSocketResponse,
        web.Request,
        aiohttp.ClientWebSocketResponse,
        aiohttp.ClientResponse,
        aiohttp.ClientSession,
        RequestHandler,
    )
    for name in (*dir(kind), *kind.__init__.__code__.co_names)
    if name.startswith("_") and not name.startswith("__")
}


def uses(tree: ast.AST) -> Iterator[str]:
    """Modules of aiohttp's that are private, and names of its objects that are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith("aiohttp._"))
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = (f"{node.module}.{each.name}" for each in node.names)
            yield from (name for name in names if name.startswith("aiohttp") and "._" in name)
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE and not _is_ours(node.value):
            yield node.attr
        elif isinstance(node, ast.Constant) and node.value in PRIVATE:
            yield str(node.value)


def _is_ours(value: ast.expr) -> bool:
    """A class of ours may have the same name for its own; what derives from aiohttp's is seen by
    what it calls there."""
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def derives_from_a_socket(tree: ast.AST) -> Iterator[str]:
    """What classes that are sockets of aiohttp's define or ask of themselves below its surface."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_is_socket(base) for base in node.bases):
            for each in ast.walk(node):
                name = getattr(each, "attr", None) or getattr(each, "name", None)
                if name in PRIVATE:
                    yield str(name)


def _is_socket(base: ast.expr) -> bool:
    return any(kind in ast.unparse(base) for kind in ("WebSocketResponse", "RequestHandler"))


def test_nothing_else_goes_below_aiohttp() -> None:
    found = {}
    for room in TALKING:
        for path in sorted(PACKAGE.glob(f"{room}/**/*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if below := {*uses(tree), *derives_from_a_socket(tree)}:
                found[path.relative_to(PACKAGE).as_posix()] = below
    assert list(found) == ["client/wire.py"], found
    pinned = {name for names in BELOW.values() for name in names}
    names = {name for name in found["client/wire.py"] if name.startswith("_")}
    assert names <= pinned, names - pinned
