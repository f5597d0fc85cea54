"""The words of `gateway.assistant`."""

from __future__ import annotations

import pytest

from megabot_cli.config.schema import GatewaySettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.assistants.chat_completions import ChatCompletionsAssistant
from megabot_cli.gateway.assistants.choice import open_assistant
from megabot_cli.gateway.assistants.command import CommandAssistant
from megabot_cli.gateway.assistants.echo import EchoAssistant
from megabot_cli.gateway.assistants.markov import MarkovAssistant


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("echo", EchoAssistant),
        ("markov", MarkovAssistant),
        ("openai:http://127.0.0.1:8080/v1", ChatCompletionsAssistant),
        ("openai:https://localhost/v1", ChatCompletionsAssistant),
        ("command:cat -", CommandAssistant),
    ],
)
def test_each_word_names_an_assistant(words: str, kind: type) -> None:
    assert type(open_assistant(GatewaySettings(assistant=words))) is kind


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("ekko", "echo"),
        ("openai", "openai:http"),
        ("openai:ftp://x", "openai:http"),
        ("command:", "command:"),
        ("command:'", "cannot be read"),
        ("", "echo"),
        ("echo:loud", "echo"),
    ],
)
def test_other_words_are_refused_with_what_would_do(words: str, hint: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        open_assistant(GatewaySettings(assistant=words))
    assert hint in f"{refused.value} {refused.value.hint}"


def test_the_key_is_asked_for_only_where_one_is_needed() -> None:
    def never() -> str:
        raise AssertionError("asked for a key")

    open_assistant(GatewaySettings(assistant="echo"), never)
    with pytest.raises(AssertionError):
        open_assistant(GatewaySettings(assistant="openai:http://127.0.0.1/v1"), never)
