"""From the words of a setting to an assistant."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from megabot_cli.config.schema import GatewaySettings
from megabot_cli.config.spelling import did_you_mean
from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.assistants.echo import EchoAssistant
from megabot_cli.gateway.assistants.interface import Assistant

_KINDS = ("echo", "markov", "openai", "command")
WORDS = ("echo", "markov", "openai:URL", "command:CMD")


def open_assistant(
    settings: GatewaySettings, model_key: Callable[[], str | None] = lambda: None
) -> Assistant:
    """The assistant that `gateway.assistant` names; `model_key` is asked where one is needed.

    Raises BadConfiguration for words that name none.
    """
    kind, _, rest = settings.assistant.partition(":")
    pauses = {"latency_s": settings.latency_s, "chunk_delay_s": settings.chunk_delay_s}
    if settings.assistant == "echo":
        return EchoAssistant(**pauses)
    if settings.assistant == "markov":
        from megabot_cli.gateway.assistants.markov import MarkovAssistant

        return MarkovAssistant(seed=settings.assistant_seed, **pauses)
    if kind == "openai" and rest.startswith(("http://", "https://")):
        from megabot_cli.gateway.assistants.chat_completions import ChatCompletionsAssistant

        return ChatCompletionsAssistant(
            rest,
            model=settings.assistant_model,
            key=model_key(),
            silence_s=settings.assistant_silence_s,
        )
    if kind == "command":
        from megabot_cli.gateway.assistants.command import CommandAssistant

        return CommandAssistant(_split(rest), silence_s=settings.assistant_silence_s)
    choices = f"One of {', '.join(WORDS)}; such as openai:http://127.0.0.1:8080/v1."
    similar = None if kind in _KINDS else did_you_mean(kind, _KINDS, near=0.7)
    raise BadConfiguration(f"There is no assistant {settings.assistant!r}", similar or choices)


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as fault:
        raise BadConfiguration(
            f"The assistant's command cannot be read: {fault}", "Is a quote open in it?"
        ) from None
    if not words:
        raise BadConfiguration("The assistant's command is empty", "command:'./answer --fast'")
    return words
