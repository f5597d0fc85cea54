"""The table of the manual: every statement has a test, and every test is there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import msgspec

from megabot_cli.protocol.messages import MESSAGE_TYPES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "man" / "megabot-protocol.7"
HEADING = ".SH EVERY STATEMENT AND ITS TEST"

_NAME = re.compile(r"tests/[\w/]+\.py::test_\w+")


class Row(msgspec.Struct, frozen=True):
    """One statement and the tests that prove it, as `tests/….py::test_…`."""

    section: str
    statement: str
    tests: tuple[str, ...]


@cache
def rows() -> tuple[Row, ...]:
    """The table: a `.SS` for each subject; after each `.TP` a statement, then its tests."""
    page = PAGE.read_text().replace("\\:", "")  # where a long name may go on in a second line
    table = page.split(HEADING)[1].split(".SH SEE ALSO")[0]
    found: list[Row] = []
    for section in table.split("\n.SS ")[1:]:
        subject, *entries = section.split("\n.TP\n")
        for entry in entries:
            statement, *tests = entry.splitlines()
            found.append(
                Row(subject.strip(), statement, tuple(line for line in tests if line != ".br"))
            )
    return tuple(found)


@cache
def names_of_tests(file: str) -> frozenset[str]:
    """The tests of a file, without importing it."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    top_level = ast.parse(path.read_text()).body
    found = (node.name for node in top_level if isinstance(node, functions))
    return frozenset(name for name in found if name.startswith("test_"))


def test_the_table_has_rows_and_every_row_a_test() -> None:
    assert len(rows()) > 100
    for row in rows():
        assert row.statement, row
        assert row.tests, row
        assert all(_NAME.fullmatch(test) for test in row.tests), row


def test_every_test_named_in_the_table_exists() -> None:
    named = {test for row in rows() for test in row.tests}
    missing = [
        test
        for test in sorted(named)
        if test.partition("::")[2] not in names_of_tests(test.partition("::")[0])
    ]
    assert missing == []


def test_every_test_of_the_specification_is_in_the_table() -> None:
    named = {test for row in rows() for test in row.tests}
    ours = {
        f"tests/specification/{file.name}::{test}"
        for file in Path(__file__).parent.glob("test_*.py")
        for test in names_of_tests(f"tests/specification/{file.name}")
    }
    assert sorted(ours - named) == []


def test_no_row_is_there_twice() -> None:
    statements = Counter((row.section, row.statement) for row in rows())
    assert [statement for statement, count in statements.items() if count > 1] == []
    proofs = Counter((row.section, test) for row in rows() for test in row.tests)
    assert [proof for proof, count in proofs.items() if count > 1] == []


def test_every_type_of_the_specification_is_explained_and_proved() -> None:
    explained = PAGE.read_text().split(HEADING)[0]
    proved = "\n".join(row.statement for row in rows())
    for name in MESSAGE_TYPES:
        assert name in explained
        assert name in proved or name == "batch"


def test_every_field_of_every_payload_is_explained() -> None:
    explained = PAGE.read_text().split(HEADING)[0].replace("\\-", "-")
    declared = {
        field.encode_name
        for kind in MESSAGE_TYPES.values()
        for field in msgspec.structs.fields(kind.payload)
    }
    assert [name for name in sorted(declared) if not re.search(rf"\b{name}\b", explained)] == []
