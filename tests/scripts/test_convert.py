"""Recordings become other things, and other things recordings, as an operator types it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator
from tests.scripts.test_terminal import ended, on_a_terminal
from tests.support.processes import Processes

GOLDEN = Path(__file__).parents[1] / "golden"


SEALED = GOLDEN / "recording_1_0" / "sealed"


UNCLEAN = GOLDEN / "recording_1_0" / "unclean"


CHROMIUM = GOLDEN / "har" / "chromium_156.har"


PYTEST = f"{sys.executable} -m pytest -q -p no:cacheprovider -W ignore"


def test_what_a_browser_exported_becomes_a_test_that_holds(
    stranger: Operator, tmp_path: Path
) -> None:
    talk, test = tmp_path / "talk.jsonl", tmp_path / "test_talk.py"
    assert stranger.types("rec", "convert", str(CHROMIUM), str(talk), "--to", "recording",
                          ).returncode == 0  # fmt: skip
    done = stranger.types("rec", "convert", str(talk), str(test), "--to", "pytest", "--expect",
                          "exact")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    served = f"megabot gateway --from-recording {talk} --pace fast --listen :0 -- {PYTEST} {test}"
    held = stranger.shell(served)
    assert held.returncode == 0, held.stdout + held.stderr
    assert "1 passed" in held.stdout
    test.write_text(test.read_text().replace("in Zürich.'", "in Bern.'"))
    failed = stranger.shell(served)
    assert failed.returncode == 1
    assert "in Bern" in failed.stdout


def test_no_test_is_made_of_what_its_client_does_not_speak(
    stranger: Operator, tmp_path: Path
) -> None:
    flat, test = tmp_path / "flat.jsonl", tmp_path / "test_flat.py"
    flat.write_text('{"type":"message","content":"hi"}\n{"type":"message","content":"Hello"}\n')
    done = stranger.types("rec", "convert", str(flat), str(test), "--to", "pytest")
    assert done.returncode == 2
    assert "flat dialect" in done.stderr
    assert "`megabot replay` sends it again" in done.stderr
    assert not test.exists()


def test_a_har_goes_through_pipes(stranger: Operator) -> None:
    done = stranger.shell(
        f"cat {CHROMIUM} | megabot rec convert - --to har | megabot rec convert - --to recording"
        " | megabot rec verify - --no-secrets"
    )
    assert done.returncode == 0, done.stderr
    assert "records    13" in done.stdout


def test_a_transcript_reads_as_a_conversation(stranger: Operator) -> None:
    done = stranger.types("rec", "convert", str(SEALED), "--to", "markdown", "--limit", "20")
    assert done.returncode == 0, done.stderr
    assert "> Grüße 😀 é\n\n**MegaBot** (began after 0.070 s" in done.stdout


def test_a_torn_recording_gives_its_prefix_with_a_warning(stranger: Operator) -> None:
    done = stranger.types("rec", "convert", str(UNCLEAN), "--to", "jsonl")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert "torn at byte" in done.stderr


def test_a_file_that_is_there_stays_without_force(stranger: Operator, tmp_path: Path) -> None:
    made = tmp_path / "x.har"
    made.write_text("mine")
    command = ("rec", "convert", str(SEALED), str(made), "--to", "har")
    done = stranger.types(*command)
    assert (done.returncode, made.read_text()) == (2, "mine")
    assert "--force" in done.stderr
    assert stranger.types(*command, "--force").returncode == 0
    assert json.loads(made.read_text())["log"]["version"] == "1.2"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["x.har"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_leaves_no_half_file_behind(
    processes: Processes, tmp_path: Path, number: int, code: int
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    running = processes.megabot(
        "rec", "convert", "-", str(folder / "x.jsonl"), "--to", "jsonl", typed=None
    )
    running.write('{"id":"1","type":"chat_send","payload":{"content":"?"}}\n' * 400)
    running.wait_for("a file under way", lambda: os.listdir(folder))
    running.signal(number)
    assert running.wait() == code
    assert os.listdir(folder) == []


@pytest.mark.parametrize("form", ["har", "jsonl", "markdown", "pytest", "recording"])
def test_no_secret_of_a_browsers_file_comes_out(
    stranger: Operator, tmp_path: Path, form: str
) -> None:
    made = tmp_path / "made"
    done = stranger.types("rec", "convert", str(CHROMIUM), str(made), "--to", form, "-v")
    assert done.returncode == 0, done.stderr
    assert "canary" not in made.read_text() + done.stdout + done.stderr
    assert "Welcome." in made.read_text()


HOSTILE = "{}\\x1b]0;evil\\x07\x9b31m\u202e"


@pytest.mark.parametrize("form", ["har", "jsonl", "markdown", "pytest", "recording"])
def test_hostile_words_do_not_reach_the_terminal(
    stranger: Operator, tmp_path: Path, form: str
) -> None:
    text = {"id": "1", "type": "chat_send", "payload": {"content": HOSTILE}, "odd\u202e\x9b": 1}
    (tmp_path / "x").write_text(json.dumps(text, ensure_ascii=False) + "\n", encoding="utf-8")
    with on_a_terminal(stranger, "rec", "convert", str(tmp_path / "x"), "--to", form) as child:
        shown, code = ended(child)
    assert code == 0, shown
    lines = re.sub(r"\x1b\[K|\r", "", shown)  # the bar on stderr, which comes and goes
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", lines)


def test_long_work_shows_a_bar_on_a_terminal(stranger: Operator, tmp_path: Path) -> None:
    line = '{"id":"1","type":"chat_send","payload":{"content":"?"}}\n'
    (tmp_path / "x").write_text(line * 20_000)
    with on_a_terminal(
        stranger, "rec", "convert", str(tmp_path / "x"), str(tmp_path / "y"), "--to", "recording"
    ) as child:
        shown, code = ended(child)
    assert code == 0
    assert re.search(r"converting  \d+000  \d+/s", shown)
    assert shown.endswith("\r\x1b[K")


def test_a_reader_that_goes_away_is_no_failure(stranger: Operator, tmp_path: Path) -> None:
    line = '{"id":"1","type":"chat_send","payload":{"content":"?"}}\n'
    (tmp_path / "x").write_text(line * 20_000)
    done = stranger.shell(f"megabot rec convert {tmp_path}/x --to recording | head -1")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr


CLIENT_WITH_TOOLS = """
import asyncio, sys
from megabot_cli.client import MegaBotClient

async def talk():
    async with MegaBotClient(sys.argv[1]) as client:
        client.tool("get_weather")(lambda **about: {"celsius": 21})
        client.tool("run_tests")(lambda **about: "all green")
        client.tool("deploy")(lambda **about: "out")
        for words in ("weather?", "deploy it", "bye"):
            await client.ask(words, timeout_s=20)

asyncio.run(talk())
"""


RECORD_AND_TEST = f"""
set -e
{sys.executable} -m megabot_cli relay --listen :0 --admin-listen :0 --record rec > ready &
until grep -q '"ready"' ready; do sleep 0.05; done
{sys.executable} talk.py $(grep -o 'ws://[^"]*' ready | head -1)
kill $!; wait $!
for form in exact shape; do
  {sys.executable} -m megabot_cli rec convert rec/* test_$form.py --to pytest --expect $form
done
{PYTEST} test_exact.py test_shape.py
{sys.executable} -m megabot_cli rec convert rec/* --to markdown
"""


def test_a_recorded_session_with_tools_becomes_a_test_that_holds(
    stranger: Operator, tmp_path: Path
) -> None:
    (tmp_path / "talk.py").write_text(CLIENT_WITH_TOOLS)
    (tmp_path / "all.sh").write_text(RECORD_AND_TEST)
    done = stranger.shell(
        f"cd {tmp_path}; megabot gateway --listen :0 --scenario tool-heavy -- bash all.sh"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "- calls tool **get\\_weather**" in done.stdout
    assert "  - result by the client: completed" in done.stdout
    assert "> Tests: completed. Deployment: completed." in done.stdout


def test_a_disk_that_is_full_leaves_no_half_file_behind(stranger: Operator, tmp_path: Path) -> None:
    # A limit on the size of files stands for the disk: writing fails in the middle.
    done = stranger.shell(
        f"cd {tmp_path}; ulimit -f 2; megabot rec convert {SEALED} full.har --to har"
    )
    assert done.returncode == 1
    assert "full.har cannot be written: File too large" in done.stderr
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []
