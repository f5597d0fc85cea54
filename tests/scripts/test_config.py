"""`megabot config` as it is typed: begin, check, explain, choose."""

from __future__ import annotations

import json
import stat

import pytest

from tests.scripts.conftest import PASSWORD, Operator

PROFILES = """\
profiles:
  staging:
    url: wss://staging.example/ws
  production:
    url: wss://production.example/ws
"""
BROKEN = """\
relay:
  lisen: 127.0.0.1:1
  max_clients: 0
recording:
  redact_patterns: ["("]
profiles:
  a:
    url: gopher://x
    tls:
      insecure: 3
"""


def test_a_first_file_sets_nothing_and_is_good(stranger: Operator) -> None:
    done = stranger.types("config", "init")
    assert done.returncode == 0, done.stderr
    file = stranger.home / "config.yaml"
    assert done.stdout == f"{file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert text.startswith("# yaml-language-server: $schema=config.schema.json\n")
    assert json.loads((stranger.home / "config.schema.json").read_text())["$defs"]
    assert stranger.types("config", "check").returncode == 0
    shown = json.loads(stranger.types("config", "show", "--json").stdout)["settings"]
    assert {each["source"] for each in shown.values()} == {"default", "environment"}


def test_a_file_that_is_there_is_kept_unless_it_may_go(stranger: Operator) -> None:
    file = stranger.home / "config.yaml"
    file.write_text("limits:\n  queue: 7\n")
    done = stranger.types("config", "init")
    assert done.returncode == 2
    assert "--yes replaces it" in done.stderr
    assert file.read_text() == "limits:\n  queue: 7\n"
    done = stranger.types("config", "init", "--yes", "--json")
    facts = json.loads(done.stdout)
    assert (stranger.home / "config.yaml.bak").read_text() == "limits:\n  queue: 7\n"
    assert facts["backup"] == f"{file}.bak"
    assert "#queue: 100" in file.read_text()


def test_another_place_can_be_named_and_one_that_cannot_be_written_is_told(
    stranger: Operator,
) -> None:
    other = stranger.home / "deep" / "mine.yaml"
    assert stranger.types("config", "init", "--config", str(other)).returncode == 0
    assert other.exists()
    done = stranger.types("config", "init", "--config", "/proc/nowhere/mine.yaml")
    assert done.returncode == 12
    assert "cannot be written" in done.stderr


def test_everything_wrong_is_told_at_once_with_its_line(stranger: Operator) -> None:
    file = stranger.home / "config.yaml"
    file.write_text(BROKEN)
    done = stranger.types("config", "check")
    assert done.returncode == 12
    told = [line for line in done.stdout.splitlines() if not line.startswith("    ")]
    assert told == [
        f"{file}:2: there is no setting 'relay.lisen'",
        f"{file}:3: relay.max_clients cannot be 0",
        f"{file}:5: recording.redact_patterns: '(' is no regular expression: missing ), "
        "unterminated subpattern at position 0",
        f"{file}:8: profiles.a.url: The upstream's URL does not begin with ws://, wss://, "
        "http:// or https://",
        f"{file}:10: profiles.a.tls.insecure cannot be 3",
    ]
    assert "    → Did you mean 'listen'?" in done.stdout
    assert "5 problems" in done.stderr
    facts = json.loads(stranger.types("config", "check", str(file), "--json").stdout)
    assert facts["ok"] is False
    assert facts["problems"][0] == {
        "place": f"{file}:2",
        "message": "there is no setting 'relay.lisen'",
        "fix": "Did you mean 'listen'?",
    }


def test_without_a_file_one_true_sentence_is_said(stranger: Operator) -> None:
    file = stranger.home / "config.yaml"
    done = stranger.types("config", "check")
    well = "nothing is wrong in the defaults and the environment"
    assert (done.returncode, done.stderr) == (0, f"There is no {file}; {well}.\n")
    file.write_text("relay:\n  max_clients: 3\n")
    assert stranger.types("config", "check").stderr == f"Nothing is wrong in {file}.\n"


def test_files_that_are_none_and_variables_are_checked_too(stranger: Operator) -> None:
    assert stranger.types("config", "check", str(stranger.home / "none.yaml")).returncode == 12
    done = stranger.types("config", "check", env={"MEGABOT_RELAY_LISTN": "x"})
    assert done.returncode == 0
    assert "MEGABOT_RELAY_LISTN sets nothing" in done.stderr
    done = stranger.types("config", "check", "--json", env={"MEGABOT_LIMITS_QUEUE": "many"})
    assert done.returncode == 12
    assert "many" in json.loads(done.stdout)["problems"][0]["message"]


def test_what_a_configuration_names_is_looked_at(stranger: Operator) -> None:
    home = stranger.home
    (home / "plain").write_text("no folder")
    (home / "wrong.yaml").write_text("rulez: []")
    file = home / "other.yaml"
    told = {
        ("gateway", "scenario", "wrong.yaml"): "rulez",
        ("gateway", "scenario", "none.yaml"): "There is no scenario file",
        ("gateway", "assistant", "marcov"): "There is no assistant 'marcov'",
        ("gateway", "assistant", "command:no-such-program -x"): "no program 'no-such-program'",
        ("recording", "folder", "plain/deep"): "plain is a file, not a folder",
        ("relay", "listen", f"unix:{home}/plain/a.sock"): "plain is a file, not a folder",
        ("relay", "admin_listen", f"unix:{home}"): f"{home} is a folder",
    }
    for (section, key, value), what in told.items():
        value = str(home / value) if value[:5] in {"wrong", "none.", "plain"} else value
        file.write_text(f"{section}:\n  {key}: {json.dumps(value)}\n")
        done = stranger.types("config", "check", str(file), "--json")
        (problem,) = json.loads(done.stdout)["problems"]
        assert done.returncode == 12
        assert problem["place"] == f"{file}:2"
        assert problem["message"].startswith(f"{section}.{key}: ")
        assert what in problem["message"]
    (home / "wrong.yaml").write_text("rules:\n- {when: mesage, steps: [dropp]}\n")
    file.write_text(f"gateway: {{scenario: {home}/wrong.yaml}}\n")
    faults = stranger.types("config", "check", str(file), "--jsonl").stdout.splitlines()
    assert [json.loads(each)["fix"] for each in faults] == [
        "Did you mean 'message'?", "Did you mean 'drop'?"
    ]  # fmt: skip
    file.write_text(
        f"gateway: {{scenario: auth-trouble, assistant: 'command:cat'}}\n"
        f"recording: {{folder: '{home}/new/deep'}}\n"
        f"relay: {{listen: 'unix:{home}/run/a.sock', admin_listen: 'unix:{home}/run/b.sock'}}\n"
    )
    done = stranger.types("config", "check", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert not (home / "new").exists(), "a check makes nothing"


def test_what_is_nearly_right_is_guessed_and_what_cannot_be_read_is_told_in_words(
    stranger: Operator,
) -> None:
    for typed, exit_code, told in (
        ("config show relay.lisen", 9, "Did you mean 'relay.listen'?"),
        ("config show rely", 9, "Did you mean 'relay'?"),
        ("send hi --type chat_sned", 2, "Did you mean 'chat_send'?"),
        ("send -", 2, "There is nothing to send: the text is empty"),
        ("send", 2, "Give TEXT, - for stdin"),
        ("send hello world", 2, "Words that belong together want quotes"),
        ("send hi --tool df=no-such-program", 9, "on the PATH, or its path"),
        ('send hi -d {"content":"ho"}', 2, "two texts for one message"),
        ("send hi --type session_join", 2, "TEXT is for chat_send, not session_join"),
        (
            "tail --no-follow --template @/none",
            9,
            "the template /none: No such file or directory\n",
        ),
    ):
        done = stranger.types(*typed.split())
        assert (done.returncode, told in done.stderr) == (exit_code, True), done.stderr


def test_a_setting_is_explained_with_what_it_hides(stranger: Operator) -> None:
    (stranger.home / "config.yaml").write_text(PROFILES)
    done = stranger.types("config", "explain", "url", "-p", "staging", "--json")
    facts = json.loads(done.stdout)
    assert facts["setting"] == "profiles.staging.url"
    assert (facts["value"], facts["source"], facts["place"]) == (
        stranger.url, "environment", "MEGABOT_URL",
    )  # fmt: skip
    assert [(each["value"], each["source"]) for each in facts["hides"]] == [
        ("wss://staging.example/ws", "profile"),
        ("ws://127.0.0.1:3000/ws", "default"),
    ]
    assert facts["variable"] == "MEGABOT_URL"
    assert "megabot relay --upstream" in facts["flags"]
    text = stranger.types("config", "explain", "relay.mode").stdout
    for told in ("session or dedicated or shared", "MEGABOT_RELAY_MODE", "megabot relay --mode"):
        assert told in text


def test_an_unknown_setting_is_not_found_with_a_guess(stranger: Operator) -> None:
    done = stranger.types("config", "explain", "relay.lisen")
    assert done.returncode == 9
    assert "Did you mean 'relay.listen'?" in done.stderr
    done = stranger.types("config", "explain", "relay")
    assert done.returncode == 9
    assert "is a section" in done.stderr


def test_profiles_are_listed_with_the_one_in_force_and_where_one_is_logged_in(
    stranger: Operator,
) -> None:
    (stranger.home / "config.yaml").write_text(PROFILES)
    login = ("login", "--username", "ann", "--password-stdin", "--storage", "file")
    assert (
        stranger.types(*login, "-p", "mine", "--url", stranger.url, typed=PASSWORD).returncode == 0
    )
    rows = json.loads(
        stranger.types("config", "profiles", "--json", env={"MEGABOT_URL": ""}).stdout
    )
    assert [(each["profile"], each["in_force"]) for each in rows] == [
        ("default", True), ("mine", False), ("production", False), ("staging", False),
    ]  # fmt: skip
    mine = rows[1]
    assert (mine["url"], mine["source"]) == (stranger.url, "login")
    assert mine["credential"].startswith("file ")
    assert rows[0]["credential"] is None
    text = stranger.types("config", "profiles").stdout
    assert "*  default" in text


def test_a_list_shows_the_fields_that_are_asked_for(stranger: Operator) -> None:
    (stranger.home / "config.yaml").write_text("profiles: {b: {url: 'ws://b/ws'}, a: {}}\n")
    listed = ("config", "profiles")
    assert stranger.types(*listed, "--fields", "profile").stdout == "a\nb\ndefault\n"
    shown = stranger.types(*listed, "--template", "{profile}={in_force}", "-o", "table").stdout
    assert "default=true" in shown.splitlines()
    rows = json.loads(stranger.types(*listed, "--fields", "profile", "--json").stdout)
    assert rows == [{"profile": name} for name in ("a", "b", "default")]
    assert stranger.types(*listed, "-o", "table").stdout == stranger.types(*listed).stdout
    wrong = stranger.types(*listed, "--fields", "profil")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Did you mean profile?" in wrong.stderr


def test_a_profile_that_was_chosen_is_used_until_another_is(stranger: Operator) -> None:
    (stranger.home / "config.yaml").write_text(PROFILES)
    nowhere = {"MEGABOT_URL": ""}

    def in_force(**env: str) -> dict[str, str]:
        done = stranger.types("config", "show", "profile", "--json", env={**nowhere, **env})
        found: dict[str, str] = json.loads(done.stdout)["settings"]["profile"]
        return found

    assert stranger.types("config", "use", "staging").returncode == 0
    assert in_force() == {
        "value": "staging", "source": "chosen", "place": "megabot config use",
    }  # fmt: skip
    assert in_force(MEGABOT_PROFILE="production")["source"] == "environment"
    done = stranger.types("config", "use", "production", env={"MEGABOT_PROFILE": "staging"})
    assert "MEGABOT_PROFILE=staging outranks that" in done.stderr
    assert in_force()["value"] == "production"
    assert stranger.types("config", "use", "default").returncode == 0
    assert in_force()["source"] == "default"
    assert not (stranger.home / "profile").exists()


def test_a_profile_that_is_not_there_cannot_be_chosen(stranger: Operator) -> None:
    (stranger.home / "config.yaml").write_text(PROFILES)
    done = stranger.types("config", "use", "stagin")
    assert done.returncode == 9
    assert "Did you mean 'staging'?" in done.stderr


def test_a_choice_of_what_is_gone_is_told_and_can_be_changed(stranger: Operator) -> None:
    file = stranger.home / "config.yaml"
    file.write_text(PROFILES)
    stranger.types("config", "use", "staging")
    file.write_text("limits:\n")
    done = stranger.types("config", "show", env={"MEGABOT_URL": ""})
    assert done.returncode == 9
    assert "chosen megabot config use" in done.stderr
    assert "`megabot config use NAME`" in done.stderr
    assert stranger.types("config", "use", "default").returncode == 0
    assert stranger.types("config", "show", env={"MEGABOT_URL": ""}).returncode == 0


def test_a_choice_is_kept_also_where_the_file_says_the_same_until_it_is_forgotten(
    stranger: Operator,
) -> None:
    file, nowhere = stranger.home / "config.yaml", {"MEGABOT_URL": ""}

    def in_force() -> str:
        done = stranger.types("config", "show", "profile", "--json", env=nowhere)
        value: str = json.loads(done.stdout)["settings"]["profile"]["value"]
        return value

    file.write_text("profile: staging\n" + PROFILES)
    assert stranger.types("config", "use", "staging").returncode == 0
    file.write_text("profile: production\n" + PROFILES)
    assert in_force() == "staging"
    done = stranger.types("config", "use", "--forget")
    assert (done.returncode, "'production' from now on" in done.stderr) == (0, True)
    assert in_force() == "production"
    for wrong in ((), ("staging", "--forget")):
        assert stranger.types("config", "use", *wrong).returncode == 2


def test_what_there_is_and_who_chose_is_shown_also_when_the_choice_is_gone(
    stranger: Operator,
) -> None:
    file, nowhere = stranger.home / "config.yaml", {"MEGABOT_URL": ""}
    file.write_text(PROFILES)
    stranger.types("config", "use", "staging")
    file.write_text("profiles: {other: {}}\n")
    listed = stranger.types("config", "profiles", "--json", env=nowhere)
    rows = {each["profile"]: each["in_force"] for each in json.loads(listed.stdout)}
    assert (listed.returncode, rows) == (0, {"default": False, "other": False})
    assert "There is no profile 'staging' (chosen megabot config use)" in listed.stderr
    shown = stranger.types("config", "show", "profile", "--json", env=nowhere)
    assert json.loads(shown.stdout)["settings"]["profile"]["value"] == "staging"
    explained = stranger.types("config", "explain", "profile", env=nowhere)
    assert (explained.returncode, "megabot config use" in explained.stdout) == (0, True)
    named = stranger.types("-p", "nonsuch", "config", "profiles", env=nowhere)
    assert (named.returncode, named.stdout) == (9, "")


def test_a_variable_that_sets_nothing_is_not_all_well(stranger: Operator) -> None:
    done = stranger.types("config", "check", env={"MEGABOT_RELAY_LISTNE": "1"})
    assert "Did you mean 'MEGABOT_RELAY_LISTEN'?" in done.stderr
    assert "nothing else is wrong in the defaults and the environment" in done.stderr


def test_a_setting_of_a_profile_that_is_not_there_is_the_profile_s_fault(
    stranger: Operator,
) -> None:
    (stranger.home / "config.yaml").write_text(PROFILES)
    done = stranger.types("config", "explain", "profiles.stagin.url")
    assert done.returncode == 9
    assert "There is no profile 'stagin'" in done.stderr
    assert "Did you mean 'staging'?" in done.stderr


@pytest.mark.parametrize(
    "secret", ["ann:s3cret-word@127.0.0.1/ws", "127.0.0.1/ws?token=s3cret-word"]
)
@pytest.mark.parametrize("line", ["show", "explain profiles.default.url", "profiles", "check"])
def test_an_address_that_is_refused_for_its_secret_does_not_show_it(
    stranger: Operator, secret: str, line: str
) -> None:
    for more in ((), ("--json",)):
        done = stranger.types("config", *line.split(), *more, env={"MEGABOT_URL": f"ws://{secret}"})
        assert "s3cret-word" not in done.stdout + done.stderr
        assert "127.0.0.1" in done.stdout or line == "check"
