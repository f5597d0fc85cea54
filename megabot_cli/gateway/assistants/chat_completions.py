"""Any endpoint that speaks OpenAI's chat completions, streamed: its deltas become ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import aiohttp
import msgspec
import structlog
from aiohttp.http import HttpProcessingError

from megabot_cli.gateway.assistants.interface import AssistantFailed, Turn

CONNECT_S = 10.0
MOST_LINE_BYTES = 1024 * 1024
_ROLES = {"user": "user", "assistant": "assistant"}

log = structlog.get_logger()


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()


class _Problem(msgspec.Struct, frozen=True):
    message: str = ""


class _Event(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    error: _Problem | None = None


_event_decoder = msgspec.json.Decoder(_Event)


class ChatCompletionsAssistant:
    """`POST {base_url}/chat/completions` with the conversation so far.

    `key` goes in the `Authorization` header and nowhere else. `silence_s`: so long nothing
    may come. Every failure is an `AssistantFailed` that holds nothing of the key or the URL.
    """

    def __init__(
        self, base_url: str, *, model: str, key: str | None = None, silence_s: float = 60.0
    ) -> None:
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._key = key
        self._silence_s = silence_s

    def __repr__(self) -> str:
        return f"<ChatCompletionsAssistant {self._model}>"

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        messages = [{"role": _ROLES[turn.sender], "content": turn.content} for turn in history]
        messages.append({"role": "user", "content": text})
        body = {"model": self._model, "messages": messages, "stream": True}
        headers = {"Accept": "text/event-stream"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_S, sock_read=self._silence_s
        )
        try:
            async with (
                aiohttp.ClientSession(timeout=limits, read_bufsize=MOST_LINE_BYTES) as http,
                http.post(self._url, json=body, headers=headers, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise await _refused(response)
                async for delta in _deltas(response):
                    yield delta
        except TimeoutError:
            raise AssistantFailed("The model did not answer in time.") from None
        except aiohttp.ClientError as fault:
            log.error("assistant.unreachable", fault=type(fault).__name__)
            raise AssistantFailed("The model cannot be reached, or hung up.") from None


async def _deltas(response: aiohttp.ClientResponse) -> AsyncGenerator[str, None]:
    """The texts in a stream of server-sent events. Comments keep it alive and say nothing."""
    done = False
    try:
        async for line in response.content:
            field, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(":")
            if field != "data":
                continue
            value = value.removeprefix(" ")
            if value == "[DONE]":
                done = True
                break
            text = _text(value)
            if text:
                yield text
    except (ValueError, HttpProcessingError):  # aiohttp's words for a line beyond its buffer
        raise AssistantFailed("The model sent a line that is too long.") from None
    if not done:
        raise AssistantFailed("The model's answer ended before it was whole.")


def _text(value: str) -> str:
    try:
        event = _event_decoder.decode(value)
    except (msgspec.DecodeError, RecursionError):
        log.error("assistant.not_understood", size=len(value))
        raise AssistantFailed("The model sent something that is no answer.") from None
    if event.error is not None:
        log.error("assistant.failed", said=event.error.message[:500])
        raise AssistantFailed("The model failed in the middle of its answer.")
    return "".join(choice.delta.content or "" for choice in event.choices[:1])


async def _refused(response: aiohttp.ClientResponse) -> AssistantFailed:
    try:
        async with asyncio.timeout(1.0):
            said = (await response.content.read(2000)).decode("utf-8", "replace")
    except (TimeoutError, aiohttp.ClientError):
        said = ""
    log.error("assistant.refused", status=response.status, said=said)
    known = {
        401: "The model does not accept the key.",
        403: "The model does not accept the key.",
        404: "The model is not there.",
        429: "The model is asked too often. Try again later.",
    }
    return AssistantFailed(known.get(response.status, f"The model refuses with {response.status}."))
