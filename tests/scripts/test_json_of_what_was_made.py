"""Commands that make something say as JSON what they made, and what went wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.conftest import Operator, start_gateway
from tests.support.processes import Processes

SEALED = str(Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed")


def made(operator: Operator, *words: str) -> Any:
    done = operator.types(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_recording_that_was_made_is_told_with_its_records(
    stranger: Operator, tmp_path: Path
) -> None:
    for words, more in (
        (("cut", SEALED), set()),
        (("merge", SEALED, SEALED), set()),
        (("sanitize", SEALED), {"changed", "dropped"}),
        (("convert", SEALED, "--to", "har"), {"left_out"}),
    ):
        to = str(tmp_path / f"{words[0]}.jsonl")
        facts = made(stranger, "recordings", *words, to)
        assert facts.keys() == {"file", "records", *more}
        assert facts["file"] == to
        assert facts["records"] > 0
        assert Path(to).is_file()


@pytest.mark.parametrize("verb", ["cut", "sanitize"])
def test_on_standard_output_stands_the_recording_alone(stranger: Operator, verb: str) -> None:
    done = stranger.types("recordings", verb, SEALED, "-", "--json")
    assert json.loads(done.stdout.splitlines()[0])["format"] == "megabot-recording"
    assert '"file"' not in done.stdout.splitlines()[-1]


def test_what_went_wrong_is_json_too(stranger: Operator, tmp_path: Path) -> None:
    done = stranger.types("recordings", "cut", "nowhere", str(tmp_path / "x.jsonl"), "--json")
    assert (done.returncode, done.stdout) == (9, "")
    assert json.loads(done.stderr)["error"]["exit"] == 9


def test_users_and_keys_are_told_with_what_was_made_for_them(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    start_gateway(processes, "--listen", ":0", "--data", str(tmp_path / "data"))
    data = ("--data", str(tmp_path / "data"))
    bea = made(stranger, "gateway", "users", "add", "bea", *data)
    assert bea["name"] == "bea"
    assert len(bea["password"]) >= 12
    assert (
        made(stranger, "gateway", "users", "password", "bea", *data)["password"] != bea["password"]
    )
    key = made(stranger, "gateway", "keys", "add", "bea", *data)
    assert key["name"] == "bea"
    (listed,) = [
        row for row in made(stranger, "gateway", "keys", "list", *data) if row["user"] == "bea"
    ]
    gone = made(stranger, "gateway", "keys", "revoke", listed["id"], *data)
    assert gone == {"id": listed["id"], "name": "bea", "revoked": True}
    assert made(stranger, "gateway", "users", "remove", "bea", *data) == {
        "name": "bea",
        "removed": True,
    }
