"""Secrets that look like none are in nothing that a command writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scripts.conftest import PASSWORD, Operator
from tests.scripts.test_assistants import USER
from tests.support.processes import Processes

TULIPS = "tulips/at+dawn"
ROSES = "roses,red,in,June"


def kept(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*.jsonl*"))


def test_what_send_records_has_no_secret_of_its_own(stranger: Operator, tmp_path: Path) -> None:
    stranger.logs_in()
    (path,) = (stranger.home / "credentials").glob("*.json")
    stored = json.loads(path.read_text())
    stored["credential"]["refresh_token"] = ROSES
    path.write_text(json.dumps(stored))
    done = stranger.types(
        "send", f"I say {TULIPS}, {ROSES}", "--record", str(tmp_path / "kept"),
        env={"MEGABOT_MODEL_KEY": TULIPS},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "I say ‹redacted:" in kept(tmp_path / "kept")
    for secret in (TULIPS, ROSES, "tulip", "roses"):
        assert secret not in kept(tmp_path / "kept")


def test_a_replay_tells_no_secret_and_compares_with_none(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    gateway = processes.megabot(
        "gateway", "--listen", ":0", *USER, "--assistant", f"command:echo {ROSES}", typed=PASSWORD
    )
    ann = Operator(stranger.home, gateway.ready()["url"])
    ann.logs_in()
    key = {"MEGABOT_MODEL_KEY": ROSES}
    done = ann.types("send", "hi", "--record", str(tmp_path / "kept"), env=key)
    assert done.returncode == 0, done.stderr
    (recording,) = (tmp_path / "kept").iterdir()
    junit = tmp_path / "report.xml"
    exactly = ("replay", str(recording), "--expect", "exact", "--junit", str(junit))
    done = ann.types(*exactly, env=key)
    assert (done.returncode, ROSES in done.stdout) == (0, False), done.stdout
    assert ROSES not in junit.read_text()
    other = ann.types(*exactly)
    assert other.returncode == 13  # nobody has told it that this is a secret


@pytest.mark.parametrize("name", ["report.json", "report.md"])
def test_a_report_has_no_secret_however_it_is_spelt(
    stranger: Operator, tmp_path: Path, name: str
) -> None:
    asked = f"{stranger.url}?x=tulips%2Fat%2Bdawn"
    report = tmp_path / name
    stranger.types("doctor", "--url", asked, "--report", str(report), env={"MEGABOT_TOKEN": TULIPS})
    assert "tulip" not in report.read_text()


def test_what_the_gateway_logs_has_no_secret_of_its_own(
    stranger: Operator, processes: Processes
) -> None:
    complaining = "command:sh -c 'cat >&2; false'"
    gateway = processes.megabot(
        "gateway", "--listen", ":0", *USER, "--assistant", complaining, typed=PASSWORD
    )
    ann = Operator(stranger.home, gateway.ready()["url"])
    ann.logs_in()
    ann.types("send", f"I say {PASSWORD}")
    gateway.wait_for_line("I say")
    assert "I say \\u2039redacted:" in gateway.errors
    assert PASSWORD not in gateway.errors


def test_what_was_sanitized_replays_with_the_verdicts_of_its_source(
    ann: Operator, tmp_path: Path
) -> None:
    said = ("chat_send", json.dumps({"content": "one two", "password": "hunter22-and-more"}))
    for words in (("plain",), ("--type", said[0], "--payload", said[1])):
        done = ann.types("send", *words, "--record", str(tmp_path / "kept"))
        assert done.returncode == 0, done.stderr
    merged, safe = str(tmp_path / "merged.jsonl"), str(tmp_path / "safe.jsonl")
    found = [str(each) for each in sorted((tmp_path / "kept").iterdir())]
    assert ann.types("rec", "merge", *found, merged).returncode == 0
    assert ann.types("rec", "sanitize", merged, safe).returncode == 0
    assert ann.types("rec", "verify", safe, "--no-secrets").returncode == 0
    verdicts = []
    for each in (merged, safe):
        done = ann.types("replay", each, "--pace", "fast", "--expect", "exact", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        verdicts.append([report[name] for name in ("sent", "same", "same_shape", "different")])
    assert verdicts[0] == verdicts[1]
    assert sum(verdicts[0][1:3]) == verdicts[0][0] == 2
