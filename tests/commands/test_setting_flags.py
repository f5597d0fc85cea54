"""The table of flags says what the commands do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from megabot_cli.app import build
from megabot_cli.commands import setting_flags
from megabot_cli.commands.outline import everywhere, outline
from megabot_cli.config.catalogue import catalogue

COMMANDS = Path(setting_flags.__file__).parent


def pairs_in_the_code() -> Iterator[tuple[str, str]]:
    """Each `{"setting": Flag("--flag", …)}` that a command writes."""
    for path in COMMANDS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    for flag in flag_calls(value):
                        if isinstance(key, ast.Constant):
                            yield str(key.value), flag


def flag_calls(node: ast.AST) -> Iterator[str]:
    for call in ast.walk(node):
        named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if named and call.func.id in ("Flag", "_flag"):  # type: ignore[attr-defined]
            yield call.args[0].value  # type: ignore[attr-defined]


def test_every_flag_that_sets_something_is_in_the_table() -> None:
    listed = {(name, flag) for name, rows in setting_flags.FLAGS.items() for flag, _ in rows}
    found = set(pairs_in_the_code())
    assert len(found) > 15
    assert found <= listed
    elsewhere = {
        ("profile", "--profile"),
        ("profiles.*.url", "--url"),
        ("gateway.listen", "--listen"),
    }
    assert listed - found <= elsewhere


def test_every_flag_and_setting_of_the_table_exists() -> None:
    assert setting_flags.FLAGS.keys() <= {each.name for each in catalogue()}
    options = {
        " ".join(command.path): {name for each in command.options for name in each.names}
        for command in outline(build()).walk()
    }
    options["megabot"] = {name for each in everywhere() for name in each.names}
    for rows in setting_flags.FLAGS.values():
        for flag, command in rows:
            assert flag in options[command], (command, flag)


def test_a_flag_is_shown_as_one_types_it() -> None:
    assert setting_flags.flags_of("relay.mode") == ["megabot relay --mode"]
    assert setting_flags.flags_of("limits.burst") == []
