"""Settings in layers, each value with its source."""

from __future__ import annotations

import pytest

from megabot_cli.config.file_layer import read_liberally
from megabot_cli.config.load import Flag, load
from megabot_cli.config.schema import ProfileSettings, Settings
from megabot_cli.errors import BadConfiguration, NotFound, WrongUsage

FILE = """
limits:
  queue: 7
profiles:
  staging:
    url: wss://staging.example/ws
    tls:
      insecure: true
  empty:
relay:
  allowed_origins: [http://localhost:5173]
recording:
"""


def test_without_anything_the_defaults_hold() -> None:
    found = load()
    assert found.settings == Settings(profiles={"default": ProfileSettings()})
    assert found.profile_name == "default"
    assert str(found.source("relay", "listen")) == "default"


def test_a_later_layer_wins_and_the_earlier_ones_are_remembered() -> None:
    found = load(
        FILE,
        environment={"MEGABOT_URL": "ws://from.environment/ws", "MEGABOT_LIMITS_QUEUE": "8"},
        flags={"profiles.*.url": Flag("--url", "ws://from.flag/ws")},
        profile="staging",
    )
    assert found.profile.url == "ws://from.flag/ws"
    assert found.settings.limits.queue == 8
    history = found.history[("profiles", "staging", "url")]
    assert [str(given.source) for given in history] == [
        "default",
        "profile config.yaml:6",
        "environment MEGABOT_URL",
        "flag --url",
    ]


def test_the_source_of_a_file_s_value_is_its_line() -> None:
    found = load(FILE, file="/etc/megabot.yaml")
    assert str(found.source("limits", "queue")) == "file /etc/megabot.yaml:3"
    assert str(found.source("profiles", "staging", "tls", "insecure")) == (
        "profile /etc/megabot.yaml:8"
    )


def test_a_choice_outranks_the_file_and_is_outranked_by_the_environment() -> None:
    file = "profile: staging\n" + FILE
    found = load(file, chosen="empty")
    assert (found.profile_name, str(found.source("profile"))) == (
        "empty", "chosen megabot config use",
    )  # fmt: skip
    found = load(
        file, chosen="empty", environment={"MEGABOT_PROFILE": "default"}, profile="staging"
    )
    assert [given.value for given in found.history[("profile",)]] == [
        "default", "staging", "empty", "default", "staging",
    ]  # fmt: skip


def test_all_that_is_wrong_in_a_file_is_found_and_the_rest_is_read() -> None:
    text = "zzz: 1\nlimits:\n  queue: 7\n  burst: x\nrelay: 3\nlimits:\n  queue: 8\nprofiles: 3\n"
    layer, problems = read_liberally(text, "c")
    assert [each.message.partition(": ")[0] for each in problems] == [
        "c:1", "c:5", "c:6", "c:7", "c:8",
    ]  # fmt: skip
    assert [(each.path, each.value) for each in layer.values] == [(("limits", "queue"), 8)]
    assert layer.profiles == ()


@pytest.mark.parametrize(
    ("named", "environment", "file", "chosen", "source"),
    [
        (None, {}, "", "default", "default"),
        (None, {}, "profile: staging\n", "staging", "file config.yaml:1"),
        (None, {"MEGABOT_PROFILE": "empty"}, "profile: staging\n", "empty", "environment"),
        ("staging", {"MEGABOT_PROFILE": "empty"}, "", "staging", "flag --profile"),
    ],
)
def test_the_profile_is_named_by_flag_then_environment_then_file(
    named: str | None, environment: dict[str, str], file: str, chosen: str, source: str
) -> None:
    found = load(file + FILE, environment=environment, profile=named)
    assert found.profile_name == chosen
    assert str(found.source("profile")).startswith(source)


def test_the_environment_sets_the_profile_in_use_and_no_other() -> None:
    found = load(FILE, environment={"MEGABOT_USERNAME": "ann"}, profile="staging")
    assert found.profile.username == "ann"
    assert found.settings.profiles["empty"].username is None


def test_a_list_in_a_variable_is_separated_by_commas() -> None:
    found = load(environment={"MEGABOT_RELAY_ALLOWED_ORIGINS": "http://a, http://b"})
    assert found.settings.relay.allowed_origins == ["http://a", "http://b"]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False)])
def test_a_truth_in_a_variable_is_a_word_or_a_digit(text: str, value: bool) -> None:
    assert load(environment={"MEGABOT_TLS_INSECURE": text}).profile.tls.insecure is value


def test_an_empty_variable_says_nothing() -> None:
    assert load(environment={"MEGABOT_URL": ""}).profile == ProfileSettings()


def test_variables_that_set_nothing_are_told() -> None:
    found = load(environment={"MEGABOT_RELAY_LISTN": "x", "MEGABOT_HOME": "y", "OTHER": "z"})
    assert found.unknown_variables == ("MEGABOT_RELAY_LISTN",)
    assert found.remarks == (
        "MEGABOT_RELAY_LISTN sets nothing: there is no such setting. "
        "Did you mean 'MEGABOT_RELAY_LISTEN'?",
    )


def test_a_variable_that_names_its_profile_hears_that_none_does() -> None:
    found = load(environment={"MEGABOT_PROFILES_STAGING_TLS_CA_FILE": "x"})
    assert found.remarks[0].endswith("Did you mean 'MEGABOT_TLS_CA_FILE'?")


@pytest.mark.parametrize(
    ("text", "says", "hints"),
    [
        ("relay:\n  lisen: 1\n", "config.yaml:2: there is no setting 'relay.lisen'", "'listen'"),
        ("zzz: 1\n", "config.yaml:1: there is no setting 'zzz'", "config show"),
        (
            "profiles:\n  a:\n    urk: x\n",
            "config.yaml:3: there is no setting 'profiles.a.urk'",
            "'url'",
        ),
        (
            "relay:\n  max_clients: 0\n",
            "config.yaml:2: relay.max_clients cannot be 0",
            "a whole number, at least 1",
        ),
        (
            "recording:\n  fsync: often\n",
            "config.yaml:2: recording.fsync cannot be 'often'",
            "never or interval or always",
        ),
        (
            "profiles:\n  a.b:\n    tls:\n      insecure: 3\n",
            "config.yaml:4: profiles.a.b.tls.insecure cannot be 3",
            "true or false",
        ),
        (
            "relay:\n  allowed_origins: [localhost:8000]\n",
            "config.yaml:2: relay.allowed_origins cannot be 'localhost:8000'",
            "http://",
        ),
        ("relay: 3\n", "config.yaml:1: relay is 3, where a section belongs", "indented"),
        ("profiles:\n  1:\n", "config.yaml:2: the profile's name 1 is no text", '"1"'),
        ("limits: {}\nlimits: {}\n", "config.yaml:2: limits is set twice", "one of them"),
        ("relay: [\n", "config.yaml:2:1: ", "quotes"),
        ("- relay\n", "config.yaml: the file holds no settings", "name: value"),
        ("a: !!python/object:os.system x\n", "config.yaml:1:4: could not determine", "quotes"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line_and_what_to_do(
    text: str, says: str, hints: str
) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load(text)
    assert caught.value.message.startswith(says)
    assert hints in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["\x00", "a: &b [*b]", "? [a]\n: 1\n", "a: " + "[" * 5000])
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(BadConfiguration):
        load(text)


def test_a_variable_with_a_bad_value_is_named() -> None:
    with pytest.raises(BadConfiguration, match="MEGABOT_RELAY_MAX_CLIENTS cannot be 'many'"):
        load(environment={"MEGABOT_RELAY_MAX_CLIENTS": "many"})


def test_a_flag_with_a_bad_value_is_named() -> None:
    with pytest.raises(WrongUsage, match="--rate-limit cannot be -1"):
        load(flags={"limits.messages_per_second": Flag("--rate-limit", -1.0)})
    with pytest.raises(WrongUsage, match="--listen: 'nonsense' is no address"):
        load(flags={"relay.listen": Flag("--listen", "nonsense")})
    origins = ["http://one.example", "two.example"]
    with pytest.raises(WrongUsage, match=r"--allow-origin cannot be 'two\.example'"):
        load(flags={"relay.allowed_origins": Flag("--allow-origin", origins)})


def test_an_unknown_profile_is_not_found_with_a_guess() -> None:
    with pytest.raises(NotFound, match="no profile 'stagin'") as caught:
        load(FILE, profile="stagin")
    assert caught.value.hint == "Did you mean 'staging'?"


def test_a_new_profile_may_be_used_when_its_address_is_given() -> None:
    found = load(profile="new", flags={"profiles.*.url": Flag("--url", "ws://new/ws")})
    assert found.profile.url == "ws://new/ws"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "relay:\n", "profiles:\n  a:\n"])
def test_what_is_empty_says_nothing(text: str) -> None:
    assert load(text).settings.relay == Settings().relay


def test_a_misspelt_profile_does_not_go_where_the_environment_points() -> None:
    pointed = {"MEGABOT_URL": "ws://from.environment/ws"}
    with pytest.raises(NotFound) as caught:
        load(FILE, environment=pointed, profile="stagin")
    assert caught.value.hint == "Did you mean 'staging'?"
    # An address that is given as near as the name makes a profile for this run.
    to_flag = {"profiles.*.url": Flag("--url", "ws://from.flag/ws")}
    assert load(FILE, flags=to_flag, profile="new").profile.url == "ws://from.flag/ws"
    named = {**pointed, "MEGABOT_PROFILE": "new"}
    assert load(FILE, environment=named).profile.url == "ws://from.environment/ws"
