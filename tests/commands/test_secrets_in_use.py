"""Which secrets are known in every run, and which where messages may repeat them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from megabot_cli.commands import upstream
from megabot_cli.commands.secrets_in_use import secrets_in_environment, secrets_in_use
from megabot_cli.errors import BadConfiguration
from megabot_cli.recording.known_secrets import KnownSecrets


@pytest.mark.parametrize(
    "name",
    [
        "MEGABOT_TOKEN",
        "MEGABOT_API_KEY",
        "MEGABOT_MODEL_KEY",
        "MEGABOT_FLAT_TOKEN",
        "OPENAI_API_KEY",
    ],
)
def test_what_a_variable_gives_is_known(name: str) -> None:
    run: Any = SimpleNamespace(known_secrets=KnownSecrets(), environ={name: "tulips/at+dawn"})
    assert secrets_in_environment(run) is run.known_secrets
    assert run.known_secrets.now.values == ("tulips/at+dawn",)


def test_what_is_not_given_is_no_secret() -> None:
    run: Any = SimpleNamespace(
        known_secrets=KnownSecrets(), environ={"MEGABOT_TOKEN": "", "HOME": "/home/somebody"}
    )
    assert secrets_in_environment(run).now.values == ()


class Run:
    """A run with a profile that has a credential, and a relay that runs."""

    known_secrets: KnownSecrets
    environ: dict[str, str]
    relay: Any = SimpleNamespace(token_file="token")

    def __init__(self, url: str = "ws://127.0.0.1:1/ws") -> None:
        self.known_secrets = KnownSecrets()
        self.environ = {"MEGABOT_TOKEN": "of the environment"}
        self.configuration = SimpleNamespace(profile=SimpleNamespace(url=url), profile_name="p")

    def running_relay(self) -> Any:
        if isinstance(self.relay, Exception):
            raise self.relay
        return self.relay

    def secrets(self) -> set[str]:
        run: Any = self
        return set(secrets_in_use(run).now.values)


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = SimpleNamespace(secret="of the profile", refresh_token="to refresh it")
    monkeypatch.setattr(upstream, "known_credential", lambda *_: credential)
    monkeypatch.setattr(upstream, "client_token", lambda path: f"of the relay: {path}")


def test_what_opens_upstream_and_relay_is_known() -> None:
    assert Run().secrets() == {
        "of the environment", "of the profile", "to refresh it", "of the relay: token",
    }  # fmt: skip


def test_what_cannot_be_read_is_none() -> None:
    run = Run("no address")
    assert run.secrets() == {"of the environment", "of the relay: token"}
    run = Run()
    run.relay = BadConfiguration("it is gone")
    assert run.secrets() == {"of the environment", "of the profile", "to refresh it"}
    run.relay = None
    assert run.secrets() == {"of the environment", "of the profile", "to refresh it"}
