"""Which module may import which: the floors of ARCHITECTURE.md, kept."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "megabot_cli"

FLOORS = {
    "errors": 0,
    "version": 0,
    "wording": 0,
    "protocol": 1,
    "recording": 2,
    "config": 2,
    "client": 3,
    "listening": 3,
    "storage": 3,
    "telemetry": 3,
    "relay": 4,
    "replay": 4,
    "gateway": 4,
    "doctor": 4,
    "commands": 5,
    "terminal": 5,
    "app": 5,
    "__main__": 5,
}
FORMATS = {"msgspec"}
TALKS = FORMATS | {"aiohttp", "yarl", "multidict", "structlog"}
PACKAGES: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "wording": set(),
    "protocol": FORMATS,
    "recording": FORMATS | {"cel"},
    "config": FORMATS | {"yaml"},
    "client": TALKS | {"keyring"},
    "listening": TALKS,
    "storage": FORMATS | {"structlog", "zstandard"},
    "telemetry": FORMATS | {"structlog", "prometheus_client"},
    "relay": TALKS,
    "replay": TALKS,
    "gateway": TALKS | {"jwt"},
    "doctor": TALKS,
    "commands": TALKS | {"typer", "platformdirs", "uvloop"},
    "terminal": FORMATS | {"prompt_toolkit"},
    "app": {"typer"},
    "__main__": set(),
}

# Floors 0 to 2 are told the time, and know no chance, socket, environment or log.
WORLDLY = {
    "asyncio", "logging", "os", "random", "secrets", "signal", "socket", "ssl", "subprocess",
    "tempfile", "threading", "time", "urllib",
}  # fmt: skip

# The console is drawn with these: a command imports them when it runs, never before.
HEAVY = {"aiohttp", "structlog", "prometheus_client", "rich", "keyring", "uvloop", "platformdirs",
         "msgspec", "yaml", "asyncio"}  # fmt: skip

FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "misc"}
MOST_LINES = 450


class Import(NamedTuple):
    """One import statement: what, where, and whether it runs when the module is imported."""

    module: str
    line: int
    at_once: bool


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """`megabot_cli/client/wire.py` is in the room `relay`, `megabot_cli/app.py` in `app`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> tuple[Import, ...]:
    return tuple(_imports(ast.parse(path.read_text(encoding="utf-8")), at_once=True))


def _imports(node: ast.AST, *, at_once: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(name.name, child.lineno, at_once)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield Import(child.module or "", child.lineno, at_once)
            for name in child.names:
                yield Import(f"{child.module}.{name.name}", child.lineno, at_once)
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            later = later or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
            yield from _imports(child, at_once=at_once and not later)


def everywhere() -> Iterator[tuple[Path, str, Import]]:
    """Every import: the module, its room, the statement."""
    for path in modules():
        for each in imports(path):
            yield path, room_of(path), each


def place(path: Path, each: Import) -> str:
    return f"{path.relative_to(ROOT)}:{each.line} imports {each.module}"


def package_of(each: Import) -> str:
    return each.module.partition(".")[0]


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in modules()} - {"__init__"}
    assert rooms == FLOORS.keys() == PACKAGES.keys()


def test_a_module_imports_its_own_room_and_lower_floors() -> None:
    def upwards(room: str, each: Import) -> bool:
        other = each.module.split(".")[1] if each.module.startswith("megabot_cli.") else room
        if room == "__init__" or other == room or other not in FLOORS or FLOORS[room] == 5:
            return False
        return FLOORS[other] >= FLOORS[room]

    assert [place(path, each) for path, room, each in everywhere() if upwards(room, each)] == []


def test_a_module_uses_the_packages_of_its_floor() -> None:
    known = sys.stdlib_module_names | {"megabot_cli"}

    def foreign(room: str, each: Import) -> bool:
        return package_of(each) not in PACKAGES.get(room, set()) | known

    assert [place(path, each) for path, room, each in everywhere() if foreign(room, each)] == []


def test_every_library_that_is_installed_with_the_program_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split("[<>=; ]", each)[0] for each in project["dependencies"]}
    imported = {package_of(each) for _, _, each in everywhere()}
    packages = packages_distributions()
    used = {
        name.lower().replace("_", "-") for package in imported for name in packages.get(package, ())
    }
    assert declared - used == set()


def test_the_lower_floors_know_nothing_of_the_world() -> None:
    def worldly(room: str, each: Import) -> bool:
        return FLOORS.get(room, 5) <= 2 and package_of(each) in WORLDLY

    assert [place(path, each) for path, room, each in everywhere() if worldly(room, each)] == []


def test_commands_import_what_is_heavy_only_when_they_run() -> None:
    light = ("errors", "version", "wording", "commands", "terminal.console", "client.late_trust")
    ours = tuple(f"megabot_cli.{each}" for each in light)

    def early(room: str, each: Import) -> bool:
        if room not in ("commands", "app", "__main__") or not each.at_once:
            return False
        if package_of(each) == "megabot_cli":
            return "." in each.module and not each.module.startswith(ours)
        return package_of(each) in HEAVY

    assert [place(path, each) for path, room, each in everywhere() if early(room, each)] == []


def test_nobody_imports_click() -> None:
    """Typer carries its own, privately; the public one is another program's."""

    def clicks(each: Import) -> bool:
        return package_of(each) == "click" or each.module.startswith("typer._")

    assert [place(path, each) for path, _, each in everywhere() if clicks(each)] == []


def test_no_module_becomes_the_product() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert [path for path, lines in lengths.items() if lines > MOST_LINES] == []


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [path for path in modules() if FORBIDDEN_NAMES & set(path.stem.split("_"))] == []


IMPORT_EACH = """
import importlib, os, sys, warnings
warnings.simplefilter("error")
for package in ("aiohttp.web", "msgspec", "yaml", "typer", "structlog", "prometheus_client", "jwt"):
    importlib.import_module(package)
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException as fault:
            print(f"{name}: {type(fault).__name__}: {fault}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(bool(failed))
"""


def test_each_module_imports_alone() -> None:
    """None leans on another having been imported before: a fresh process each."""
    names = [name_of(path) for path in modules() if path.name != "__main__.py"]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
