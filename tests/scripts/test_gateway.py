"""MegaBot on this machine, as an operator starts it."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator
from tests.support.processes import Processes, megabot


def test_the_first_user_is_shown_once_and_can_log_in(
    processes: Processes, stranger: Operator, tmp_path: Path
) -> None:
    arguments = ("gateway", "--listen", ":0", "--data", str(tmp_path / "data"))
    first = processes.megabot(*arguments)
    url = first.ready()["url"]
    line = first.wait_for_line("The first user is")
    found = re.search(r"user is (\w+); the password, shown only this once:  (\S+)", line)
    assert found is not None
    assert first.wait_for_line("Next").endswith(
        f"`megabot login --username {found[1]} --url {url}`"
    )
    login = ("login", "--username", found[1], "--password-stdin", "--no-store", "--url", url)
    assert stranger.types(*login, typed=found[2]).returncode == 0
    first.signal(signal.SIGTERM)
    assert first.wait() == 0

    second = processes.megabot(*arguments)
    second.ready()
    assert second.stop() == 0
    assert "first user" not in second.errors
    kept = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir()).decode("latin-1")
    assert found[2] not in kept


def test_a_command_runs_against_it_and_its_exit_code_is_ours(stranger: Operator) -> None:
    command = f"{sys.executable} -m megabot_cli"
    done = stranger.shell(
        f"megabot gateway --listen :0 --chunk-delay 2ms -q -- bash -c '{command} send hi && exit 7'"
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("You said “hi”")
    assert done.stdout.count("\n") == 1


def test_a_command_that_is_not_there_is_told(stranger: Operator) -> None:
    done = stranger.types("gateway", "--listen", ":0", "--", "no-such-command")
    assert done.returncode == 9
    assert "no-such-command" in done.stderr


def test_a_command_that_is_no_program_is_told(stranger: Operator, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for path in (plain, tmp_path):
        done = stranger.types("gateway", "--listen", ":0", "--", str(path))
        assert done.returncode == 2
        assert f"{path} cannot be run: Permission denied" in done.stderr


def test_stopping_it_stops_the_command_too(processes: Processes) -> None:
    sleeper = "import time; print('up', flush=True); time.sleep(60)"
    running = processes.megabot("gateway", "--listen", ":0", "--", sys.executable, "-c", sleeper)
    running.wait_for_line("up")
    running.signal(signal.SIGTERM)
    assert running.wait(limit_s=10.0) == 143


def test_a_password_belongs_to_a_user(stranger: Operator) -> None:
    alone = stranger.types("gateway", "--username", "ann")
    assert alone.returncode == 2
    assert "--username and --password-stdin belong together" in alone.stderr
    assert stranger.types("gateway", "--password-stdin").returncode == 2


@pytest.mark.parametrize("word", ["--username", "--user"])
def test_a_user_is_named_as_at_login_and_as_it_was_before(stranger: Operator, word: str) -> None:
    command = ("gateway", "--listen", ":0", word, "ann", "--password-stdin")
    done = stranger.types(*command, "--", "true", typed="correct horse battery staple")
    assert done.returncode == 0, done.stderr


def test_the_spelling_of_before_is_in_no_help(stranger: Operator) -> None:
    shown = stranger.types("gateway", "--help").stdout
    assert "--username NAME" in shown
    assert "--user " not in shown


def test_a_command_s_gateway_keeps_nothing_and_logs_json_in_a_pipe(stranger: Operator) -> None:
    done = stranger.types("gateway", "--listen", ":0", "--", "true")
    assert not (stranger.home / "gateway").exists()
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [
        "gateway.started", "gateway.stopped",
    ]  # fmt: skip


def test_without_a_data_folder_no_file_is_written_anywhere(
    stranger: Operator, processes: Processes
) -> None:
    before = {path for path in stranger.home.rglob("*") if path.is_file()}
    gateway = processes.start(
        "gateway", megabot("gateway", "--listen", ":0"), env=stranger.environment()
    )
    url = gateway.ready()["url"]
    line = gateway.wait_for_line("The first user is")
    assert "nothing outlives" in gateway.wait_for_line("--data DIR").lower()
    found = re.search(r"user is (\w+); the password, shown only this once:  (\S+)", line)
    assert found is not None
    login = ("login", "--username", found[1], "--password-stdin", "--no-store", "--url", url)
    assert stranger.types(*login, typed=found[2]).returncode == 0
    assert gateway.stop() == 0
    after = {path for path in stranger.home.rglob("*") if path.is_file()}
    assert {path.name for path in after - before} <= {"logins.json"}


def test_a_data_folder_in_use_or_of_another_kind_is_told(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    arguments = ("gateway", "--listen", ":0", "--data", str(tmp_path / "data"))
    first = processes.megabot(*arguments)
    first.ready()
    second = stranger.types(*arguments)
    assert second.returncode == 12
    assert "Another gateway (pid" in second.stderr
    assert first.stop() == 0
    (tmp_path / "data" / "gateway.sqlite3").write_bytes(b"no database at all " * 300)
    third = stranger.types(*arguments)
    assert third.returncode == 12
    assert "--data" in third.stderr
    assert "Traceback" not in third.stderr


def test_what_cannot_be_used_is_told_in_the_system_s_words_and_ours(stranger: Operator) -> None:
    done = stranger.types("gateway", "--listen", ":0", "--data", "/dev/null")
    assert done.returncode == 12
    assert "/dev/null/gateway.sqlite3 cannot be used: File exists" in done.stderr
    for typed, helps in (("nope", "One of echo, markov,"), ("ecoh", "Did you mean 'echo'?")):
        done = stranger.types("gateway", "--listen", ":0", "--assistant", typed)
        assert (done.returncode, helps in done.stderr) == (2, True), done.stderr


def test_a_device_is_neither_replaced_nor_removed(stranger: Operator, tmp_path: Path) -> None:
    for flag in ("--users", "--ready-file"):
        device = tmp_path / flag
        device.symlink_to("/dev/null")
        done = stranger.types("gateway", "--listen", ":0", flag, str(device), "--", "true")
        assert done.returncode in {1, 12}
        assert f"it is no plain file\nhint: {flag} names another.\n" in done.stderr
        assert device.is_symlink()


def test_a_users_file_is_said_to_be_kept_and_to_be_new(
    processes: Processes, tmp_path: Path
) -> None:
    file = tmp_path / "users.json"
    for is_new in (True, False):
        gateway = processes.megabot("gateway", "--listen", ":0", "--users", str(file))
        gateway.ready()
        gateway.wait_for_line(f"{file} keeps the users; nothing else outlives this process")
        assert (f"There is no users file {file} yet" in gateway.errors) == is_new
        assert "Nothing outlives" not in gateway.errors
        assert gateway.stop() == 0


def test_a_users_file_in_a_folder_that_is_not_there_is_a_slip(
    stranger: Operator, tmp_path: Path
) -> None:
    file = tmp_path / "misspelt" / "users.json"
    done = stranger.types("gateway", "--listen", ":0", "--users", str(file), "--", "true")
    assert done.returncode == 9
    assert f"There is no folder {file.parent} for the users file" in done.stderr
    assert not file.parent.exists()


def test_users_and_keys_change_while_it_runs_and_outlive_a_kill(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    data = ("--data", str(tmp_path / "data"))
    first = processes.megabot("gateway", "--listen", ":0", *data)
    first.ready()
    made = stranger.types("gateway", "users", "add", "ann", "--password-stdin", *data, typed="pw")
    assert (made.returncode, made.stdout) == (0, "")
    assert "ann may log in" in made.stderr
    key = stranger.types("gateway", "keys", "add", "ann", *data).stdout.strip()
    assert key.startswith("mbk_")
    first.signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    second = processes.megabot("gateway", "--listen", ":0", "--chunk-delay", "2ms", *data)
    url = second.ready()["url"]
    login = ("login", "--username", "ann", "--password-stdin", "--no-store", "--url", url)
    assert stranger.types(*login, typed="pw").returncode == 0
    said = stranger.types("send", "hi", "--url", url, env={"MEGABOT_API_KEY": key})
    assert said.returncode == 0, said.stderr
    listed = json.loads(stranger.types("gateway", "keys", "list", "--json", *data).stdout)
    assert [each["user"] for each in listed] == ["ann"]
    again = stranger.types("gateway", "users", "add", "ann", *data)
    assert (again.returncode, "password ann" in again.stderr) == (2, True)
    changed = stranger.types("gateway", "users", "password", "ann", *data)
    assert (changed.returncode, len(changed.stdout.split())) == (0, 1)
    assert "The password of ann is another one now" in changed.stderr
    assert second.stop() == 0


def test_the_files_of_an_older_version_are_taken_over_and_the_operator_is_told(
    processes: Processes, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "token.key").write_text("ab" * 32)
    running = processes.megabot("gateway", "--listen", ":0", "--data", str(data))
    running.ready()
    assert running.stop() == 0
    assert "token.key.migrated" in running.errors
    assert (data / "token.key.migrated").read_text() == "ab" * 32
    assert not (data / "token.key").exists()
