"""Log in, be somebody, log out."""

from __future__ import annotations

import json
import stat
import sys

import pytest

from tests.scripts.conftest import PASSWORD, Operator

LOGIN = ("login", "--username", "ann", "--password-stdin", "--storage", "file")


def test_a_credential_is_kept_for_its_owner_alone_and_forgotten(stranger: Operator) -> None:
    done = stranger.types(*LOGIN, typed=f"{PASSWORD}\n")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "Logged in as ann" in done.stderr
    (file,) = (stranger.home / "credentials").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in file.read_text()

    who = json.loads(stranger.types("whoami", "--json").stdout)
    assert (who["username"], who["url"], who["checked"]) == ("ann", stranger.url, True)
    assert who["stored"] == f"file {file}"

    assert stranger.types("logout").returncode == 0
    assert stranger.types("whoami").returncode == 4
    assert "nothing to forget" in stranger.types("logout").stderr


def test_the_address_of_a_login_is_remembered(stranger: Operator) -> None:
    """Without any MEGABOT_URL, the next command goes where one is logged in."""
    url, nowhere = stranger.url, {"MEGABOT_URL": ""}
    done = stranger.types(*LOGIN, "-p", "mine", "--url", url, typed=PASSWORD, env=nowhere)
    assert done.returncode == 0
    assert stranger.types("-p", "mine", "send", "hi", env=nowhere).returncode == 0
    shown = json.loads(stranger.types("-p", "mine", "config", "show", "--json", env=nowhere).stdout)
    assert shown["settings"]["profiles.mine.url"] == {
        "value": url, "source": "login", "place": None,
    }  # fmt: skip
    forgotten = stranger.types("-p", "mine", "logout", env=nowhere).stderr
    assert forgotten == f"Forgotten: mine and its address {url}.\n"
    assert stranger.types("-p", "mine", "whoami", env=nowhere).returncode == 9


def test_a_credential_is_never_sent_to_another_origin(stranger: Operator) -> None:
    stranger.types(*LOGIN, typed=PASSWORD)
    done = stranger.types("token", "--url", "ws://127.0.0.1:9/ws")
    assert done.returncode == 4
    assert done.stdout == ""


def test_who_has_not_logged_in_yet_hears_that_and_of_no_refused_credential(
    stranger: Operator,
) -> None:
    for typed in (("send", "hi"), ("tool", "time"), ("chat",), ("whoami",)):
        done = stranger.types(*typed, typed="hi\n")
        assert done.returncode == 4
        assert f"error: Profile 'default' is not logged in at {stranger.url}\n" in done.stderr
        assert "hint: `megabot login` gives profile 'default' a credential" in done.stderr


def test_a_key_that_is_refused_is_to_be_checked_and_not_to_be_logged_in_with_again(
    stranger: Operator,
) -> None:
    done = stranger.types("login", "--api-key-stdin", typed="no-key-of-theirs")
    assert done.returncode == 4
    assert "refused the credential" in done.stderr
    assert done.stderr.endswith("\nhint: Check the key.\n")


def test_nothing_is_kept_when_nothing_shall_be(stranger: Operator) -> None:
    done = stranger.types(*LOGIN[:-2], "--no-store", typed=PASSWORD)
    assert done.returncode == 0
    assert "not kept" in done.stderr
    assert not (stranger.home / "credentials").exists()
    assert not (stranger.home / "logins.json").exists()


def test_a_keyring_that_is_not_there_is_an_error_when_it_was_demanded(stranger: Operator) -> None:
    done = stranger.types(*LOGIN[:-2], "--storage", "keyring", typed=PASSWORD)
    assert done.returncode == 12
    assert "--storage file" in done.stderr


def test_two_secrets_cannot_both_come_on_stdin(stranger: Operator) -> None:
    assert stranger.types("login", "--password-stdin", "--api-key-stdin").returncode == 2


@pytest.mark.parametrize("flag", ["--header", "--json"])
def test_a_token_for_scripts_works_from_the_environment(ann: Operator, flag: str) -> None:
    shown = ann.types("token", flag).stdout
    token = json.loads(shown)["token"] if flag == "--json" else shown.split()[-1]
    assert shown.startswith("{" if flag == "--json" else "Authorization: Bearer ey")
    elsewhere = Operator(ann.home / "empty", ann.url)
    done = elsewhere.types("whoami", "--json", env={"MEGABOT_TOKEN": token})
    assert json.loads(done.stdout)["stored"] == "environment"
    sent = elsewhere.types("send", "hi", "-v", env={"MEGABOT_TOKEN": token})
    assert "with the credential in MEGABOT_TOKEN" in sent.stderr
    examined = elsewhere.types("doctor", env={"MEGABOT_TOKEN": token}).stdout
    assert "given by MEGABOT_TOKEN" in " ".join(examined.split())


def test_who_logs_in_elsewhere_than_the_file_says_hears_what_takes_him_there(
    stranger: Operator,
) -> None:
    (stranger.home / "config.yaml").write_text("profiles: {default: {url: 'ws://127.0.0.1:9'}}\n")
    by_variable = stranger.types(*LOGIN, typed=PASSWORD)
    assert "address: without MEGABOT_URL, that is used" in " ".join(by_variable.stderr.split())
    by_flag = stranger.types(*LOGIN, "--url", stranger.url, typed=PASSWORD)
    assert "address: without --url, that is used" in " ".join(by_flag.stderr.split())


def test_an_api_key_logs_in(stranger: Operator) -> None:
    """The gateway gives one to the command it runs."""
    line = (
        'megabot gateway --listen :0 --chunk-delay 2ms -- bash -c \'printf %s "$MEGABOT_API_KEY" | '
        "(unset MEGABOT_API_KEY; $PYTHON -m megabot_cli login --api-key-stdin --storage file && "
        "$PYTHON -m megabot_cli whoami --json && $PYTHON -m megabot_cli send hi)'"
    )
    done = stranger.shell(line, env={"PYTHON": sys.executable})
    assert done.returncode == 0, done.stderr
    who, answer = done.stdout.splitlines()
    assert json.loads(who)["credential"] == "api_key"
    assert answer.startswith("You said")


def test_no_secret_stands_in_anything_a_failure_says(stranger: Operator) -> None:
    stranger.types(*LOGIN, typed=PASSWORD)
    token = stranger.types("token").stdout.strip()
    for line in (
        ("send", "hi", "--debug", "--timeout", "1ms"),
        ("config", "show"),
        ("login", "--username", "ann", "--no-input", "--debug"),
    ):
        done = stranger.types(*line)
        assert token not in done.stdout + done.stderr, line
        assert PASSWORD not in done.stdout + done.stderr, line


def test_a_refused_credential_of_a_variable_names_the_variable_and_not_a_login(
    stranger: Operator,
) -> None:
    relay = ("relay", "--listen", ":0", "--admin-listen", ":0", "--no-record")
    for name, words in (
        ("MEGABOT_TOKEN", ("send", "hi")),
        ("MEGABOT_API_KEY", ("whoami",)),
        ("MEGABOT_API_KEY", relay),
        ("MEGABOT_TOKEN", ("doctor",)),
    ):
        done = stranger.types(*words, env={name: "mbk_wrong"})
        assert done.returncode == 4, done.stderr
        said = done.stdout if words == ("doctor",) else done.stderr
        assert f"{name}" in said
        assert "unset it to use what" in said
    done = stranger.types(*LOGIN, typed=PASSWORD, env={"MEGABOT_TOKEN": "mbk_wrong"})
    assert "MEGABOT_TOKEN is set: its credential is used, not this one" in done.stderr
    assert stranger.types("send", "hi").returncode == 0
