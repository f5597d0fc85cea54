"""Every exit code, through the program, with its message."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scripts.conftest import PASSWORD, Operator
from tests.support.processes import Processes, megabot


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The one line of JSON on stderr."""
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["exit"] == done.returncode
    assert list(error) == [
        "code", "exit", "message", "hint", "retryable", "retry_after_s", "close_code",
    ]  # fmt: skip
    return dict(error)


def test_0_when_it_is_done(ann: Operator) -> None:
    done = ann.types("send", "hi")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("You said “hi”")


def test_1_when_stdout_takes_no_more(ann: Operator) -> None:
    done = ann.shell("megabot config show > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Could not write the result: No space left on device\n")


@pytest.mark.parametrize(
    "line", [["sned"], ["send"], ["send", "--zzz", "x"], ["login", "--no-input"], ["rec", "show"]]
)
def test_2_when_it_was_used_wrongly(ann: Operator, line: list[str]) -> None:
    done = ann.types(*line)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "hint: " in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "send hi --url nope",
        "whoami --url nope",
        "replay last --to nope",
        "relay --listen :0 --admin-listen :0 --upstream nope",
        "bench nope",
        "bench nope --yes",
        "gateway --listen :0 --scenario nope",
        "gateway --check-scenario nope.yaml",
        "gateway --listen :0 --dialect flat --assistant nope",
    ],
)
def test_2_when_a_flag_has_a_value_that_is_none(stranger: Operator, line: str) -> None:
    done = stranger.types(*line.split())
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("error: --")
    assert "hint: " in done.stderr


def test_an_error_is_json_also_where_what_was_asked_for_stands_before_the_fault(
    ann: Operator,
) -> None:
    for line in (("--json", "--zzz"), ("-o", "json", "sned"), ("send", "--json", "--zzz", "x")):
        assert error_of(ann.types(*line))["exit"] == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--profil x", "Did you mean --profile?"),
        ("send hi --tiemout 3s", "Did you mean --timeout?"),
        ("tail -n x", "'x' is no whole number"),
        ("tail -n -1", "-1 is less than 0"),
        ("relay --rate-limit x", "'x' is no number"),
        ("bench --duration 0 --yes", "--duration 0 measures nothing"),
        ("login --no-store --storage keyring", "exclude each other"),
        ("help sned", "Did you mean 'send'?"),
    ],
)
def test_what_was_typed_wrongly_is_told_in_a_few_words(ann: Operator, line: str, told: str) -> None:
    done = ann.types(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr.splitlines()[0]


def test_what_only_looks_a_little_like_an_option_is_no_guess(ann: Operator) -> None:
    done = ann.types("relay", "--sesion", "x")
    assert done.stderr == (
        "error: No such option: --sesion\nhint: `megabot relay --help` shows what there is.\n"
    )
    assert "Did you mean --session?" in ann.types("send", "--sesion", "x").stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("recordings prune somewhere", "MEGABOT_RECORDING_FOLDER=DIR megabot recordings prune"),
        ("recordings show rec_1 rec_2", "megabot recordings merge A B both.jsonl"),
        ("recordings stats rec_1 rec_2", "megabot recordings merge A B both.jsonl"),
        ("recordings verify rec_1 rec_2", "for each in A B; do megabot recordings verify"),
        ("recordings cut rec_1 rec_2 part.jsonl", "megabot recordings merge A B both.jsonl"),
        ("recordings diff a b c", "It takes two"),
        ("replay rec_1 rec_2", "megabot recordings merge A B both.jsonl"),
        ("recordings merge rec_1", "As in `megabot rec merge rec_1m8 rec_1m9 both.jsonl`"),
        ("recordings convert last", "As in `megabot rec convert last talk.har --to har`"),
        ("relay close", "As in `megabot relay close client_1m8…`"),
        ("prune somewhere", "megabot recordings prune"),
        ("login ann", "megabot login --username NAME"),
        ("tool echo hello", "megabot tool echo --param text=hello"),
        ("chat hello", 'megabot send "What is a relay?"'),
        ("doctor ws://127.0.0.1:9/ws", "megabot doctor --url URL"),
        ("whoami ann", "hint: `megabot whoami --help` shows what there is."),
        ("send hello world", "Words that belong together want quotes"),
    ],
)
def test_a_word_too_many_or_too_few_is_told_with_what_to_type(
    ann: Operator, line: str, told: str
) -> None:
    done = ann.types(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "recordings grep [ last",
        "tail --grep (",
        "send hi --until type=",
        "send hi --fields a --template b",
        "chat --new --session x",
        "send --file /",
        "tail relay relay",
    ],
)
def test_an_error_names_the_next_step(ann: Operator, line: str) -> None:
    done = ann.types(*line.split())
    assert done.returncode in {2, 9, 11}
    assert "\nhint: " in done.stderr


def test_help_may_be_asked_for_by_that_word(ann: Operator) -> None:
    for asked, flag in ((("help",), ("--help",)), (("help", "rec", "cut"), ("rec", "cut", "-h"))):
        done = ann.types(*asked)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == ann.types(*flag).stdout


def test_words_that_are_no_utf_8_are_told(ann: Operator) -> None:
    done = ann.shell("megabot send $'\\xff' --dry-run")
    assert (done.returncode, done.stdout) == (11, "")
    assert "no UTF-8 text" in done.stderr
    assert "codec" not in done.stderr


def test_what_an_option_lacks_is_explained_by_its_command(ann: Operator) -> None:
    done = ann.types("recordings", "grep", "--type")
    assert done.returncode == 2
    assert "`megabot recordings grep --help`" in done.stderr
    done = ann.types("completions", "show")
    assert done.stderr.startswith(
        "error: Missing argument 'SHELL'. Choose from: bash, zsh, fish, powershell\nhint: "
    )


def test_3_when_time_runs_out(ann: Operator) -> None:
    done = ann.types("send", "hi", "--wait", "type:notification", "--timeout", "0.3s", "--json")
    assert done.returncode == 3
    assert error_of(done)["retryable"] is True


def test_4_when_the_password_is_wrong(stranger: Operator) -> None:
    done = stranger.types("login", "--username", "ann", "--password-stdin", typed="wrong")
    assert done.returncode == 4
    assert "wrong" not in done.stderr.replace("wrong password", "").replace("is wrong", "")


@pytest.mark.parametrize("line", [["send", "hi"], ["whoami"]])
def test_4_when_nobody_is_logged_in(stranger: Operator, line: list[str]) -> None:
    done = stranger.types(*line)
    assert done.returncode == 4
    assert "megabot login" in done.stderr


ANSWERS = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        status = int(sys.argv[1])
        self.send_response(status)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_POST
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", int((sys.argv + ["0"])[2])), Answer)
print('{"event": "ready", "port": %d}' % server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def upstream_that_answers(processes: Processes, status: int) -> Iterator[str]:
    """An HTTP server that says the same to everybody."""
    started = processes.start(f"answers {status}", [sys.executable, "-c", ANSWERS, str(status)])
    yield f"ws://127.0.0.1:{started.ready()['port']}/ws"


@pytest.mark.parametrize(("status", "code"), [(403, 5), (500, 6), (429, 10)])
def test_5_6_and_10_when_the_upstream_says_no(
    stranger: Operator, processes: Processes, status: int, code: int
) -> None:
    with upstream_that_answers(processes, status) as url:
        done = stranger.types("send", "hi", "--url", url, "--json")
    assert done.returncode == code
    error = error_of(done)
    if code == 5:
        assert "megabot whoami" in str(error["hint"])
    if code == 10:
        assert (error["retryable"], error["retry_after_s"]) == (True, 7.0)


def test_7_when_nobody_listens(stranger: Operator) -> None:
    done = stranger.types("send", "hi", "--url", "ws://127.0.0.1:9/ws")
    assert done.returncode == 7
    assert "megabot gateway" in done.stderr


def test_9_when_there_is_no_such_profile(ann: Operator) -> None:
    for url in ("", ann.url):
        done = ann.types("-p", "defalt", "send", "hi", env={"MEGABOT_URL": url})
        assert done.returncode == 9
        assert "Did you mean 'default'?" in done.stderr


def test_9_when_there_is_no_such_recording(ann: Operator) -> None:
    assert ann.types("recordings", "show", "rec_nothing").returncode == 9


def test_11_when_the_payload_is_no_json(ann: Operator) -> None:
    done = ann.types("send", "hi", "--payload", "{bad")
    assert done.returncode == 11
    assert "at column 2" in done.stderr


def test_11_when_the_message_is_not_valid(ann: Operator) -> None:
    done = ann.types("send", "x" * 10_001)
    assert done.returncode == 11
    assert "$.payload.content" in done.stderr


def test_11_when_a_recording_is_none(ann: Operator, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("[]\n")
    done = ann.types("recordings", "verify", str(tmp_path / "x.jsonl"))
    assert done.returncode == 11
    assert "nor messages one a line" in done.stderr


def test_12_when_the_configuration_is_wrong(stranger: Operator) -> None:
    (stranger.home / "config.yaml").write_text("relay:\n  lisen: x\n")
    done = stranger.types("send", "hi")
    assert done.returncode == 12
    assert "config.yaml:2: there is no setting 'relay.lisen'" in done.stderr
    assert "Did you mean 'listen'?" in done.stderr


def test_12_when_the_port_is_taken(ann: Operator, gateway: str) -> None:
    address = gateway.removeprefix("ws://").removesuffix("/ws")
    assert ann.types("gateway", "--listen", address).returncode == 12


def test_9_when_what_is_to_be_sent_is_no_file(ann: Operator) -> None:
    for flag in ("--file", "--attach"):
        done = ann.types("send", *(("hi",) if flag == "--attach" else ()), flag, "/", "--json")
        assert (done.returncode, error_of(done)["message"]) == (9, "/ is a folder")


def test_14_when_part_of_a_batch_failed(ann: Operator) -> None:
    done = ann.types("send", "--jsonl", "-", typed='one\n{bad\n{"type":"chat_send"}\n\nfour\n')
    assert done.returncode == 14
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [("error" in each, each["line"]) for each in results] == [
        (False, 1), (True, 2), (True, 3), (False, 5),
    ]  # fmt: skip
    assert error_of(done)["message"] == "2 of 4 messages failed"


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        (["tail", "-v"], signal.SIGINT, 130),
        (["tail", "-v"], signal.SIGHUP, 129),
        (["send", "hi", "-v", "--wait", "type:notification"], signal.SIGTERM, 143),
    ],
)
def test_a_signal_ends_a_wait_at_once_and_is_the_exit_code(
    ann: Operator, processes: Processes, line: list[str], number: signal.Signals, code: int
) -> None:
    waiting = processes.start(line[0], megabot(*line), env=ann.environment())
    waiting.wait_for("the connection", lambda: "session" in waiting.errors)
    waiting.signal(number)
    assert waiting.wait(limit_s=5.0) == code
    assert "Traceback" not in waiting.errors
    assert waiting.errors.count("\n") <= 2


def test_a_signal_ends_a_batch_that_has_no_end(ann: Operator, processes: Processes) -> None:
    line = f"yes hi | exec {' '.join(megabot('send', '--jsonl', '-'))}"
    busy = processes.start("yes | send", ["bash", "-c", line], env=ann.environment())
    busy.wait_for("an answer", lambda: busy.json_lines())
    os.killpg(busy.pid, signal.SIGINT)
    assert busy.wait(limit_s=5.0) == 130
    assert busy.errors == ""


def test_no_traceback_is_shown_unless_it_is_asked_for(ann: Operator) -> None:
    assert "Traceback" not in ann.types("send", "hi", "--payload", "{").stderr
    assert "Traceback" in ann.types("send", "hi", "--payload", "{", "--debug").stderr


def test_8_when_the_session_is_lost_before_the_answer(
    stranger: Operator, processes: Processes, tmp_path: Path, port: int
) -> None:
    """The gateway dies and comes back without its memory: nobody will answer any more."""
    data = tmp_path / "data"
    slow = ("--latency", "60s", "--data", str(data))
    user = ("--username", "ann", "--password-stdin")
    address = f"127.0.0.1:{port}"
    gateway = processes.megabot("gateway", "--listen", address, *slow, *user, typed=PASSWORD)
    url = gateway.ready()["url"]
    login = ("login", "--username", "ann", "--password-stdin", "--storage", "file")
    assert stranger.types(*login, "--url", url, typed=PASSWORD).returncode == 0
    command = megabot("send", "hi", "-v", "--url", url)
    waiting = processes.start("send", command, env=stranger.environment())
    waiting.wait_for("the connection", lambda: "session" in waiting.errors)
    gateway.kill()
    with contextlib.closing(sqlite3.connect(data / "gateway.sqlite3")) as database, database:
        database.execute("DELETE FROM sessions")
    processes.megabot("gateway", "--listen", address, *slow).ready()
    assert waiting.wait(limit_s=20.0) == 8
    assert "connection lost" in waiting.errors


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (("completions", "show", "bahs"), "bash"),
        (("relay", "--mode", "sesion"), "session"),
        (("send", "hi", "--color", "alway"), "always"),
        (("send", "hi", "-o", "jsn"), "json"),
        (("send", "hi", "--wait", "replay"), "reply"),
        (("relay", "level", "debg"), "debug"),
    ],
)
def test_2_with_a_guess_where_one_of_a_few_words_is_asked_for(
    stranger: Operator, line: tuple[str, ...], meant: str
) -> None:
    done = stranger.types(*line)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1] == f"hint: Did you mean {meant!r}?"


def test_a_setting_and_a_message_type_are_guessed_too(stranger: Operator) -> None:
    wrong = stranger.types("config", "show", env={"MEGABOT_RELAY_MODE": "shard"})
    assert wrong.returncode == 12
    assert wrong.stderr.splitlines()[1] == "hint: Did you mean 'shared'?"
    # Any type may be sent and looked for: there it is a warning.
    odd = stranger.types("send", "--type", "chat_sned", "--payload", "{}", "--dry-run")
    assert (odd.returncode, json.loads(odd.stdout)["type"]) == (0, "chat_sned")
    assert "Did you mean 'chat_send'?" in odd.stderr
    sought = stranger.types("rec", "grep", "x", "-", "--type", "chat_recieve", "--type", "*_erorr")
    assert sought.stderr.count("Did you mean") == 1
    assert "Did you mean 'chat_receive'?" in sought.stderr
