"""Every refusal of the gateway has a stable word and a code, and the connection stays."""

from __future__ import annotations

import ast
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.gateway.assistants.interface import AssistantFailed, Turn
from megabot_cli.protocol.close_codes import CloseCode
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "man" / "megabot-protocol.7").read_text().replace("\\-", "-")

REFUSALS: list[tuple[str, int, str, Any]] = [
    ("invalid_message", 400, "chat_send", {}),
    ("message_too_large", 413, "my.type", "x" * 1024 * 1024),
    ("unknown_type", 400, "my.type", {}),
    ("wrong_sender", 400, "chat_receive", {"content": "x"}),
    ("unknown_execution", 400, "tool_result", {"execution_id": "e", "status": "completed"}),
    ("not_joined", 403, "collaborative_action", {"session_id": "room", "action": "wave"}),
    ("assistant_failed", 500, "chat_send", {"content": "fail"}),
]


class Failing:
    """Fails as it is asked to."""

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        if text == "fail":
            raise AssistantFailed("The model is asleep.")
        yield text


@pytest.mark.parametrize(
    ("error", "code", "message_type", "payload"),
    REFUSALS,
)
async def test_each_refusal_has_its_word_and_code_and_the_connection_stays(
    open_house: OpenHouse, error: str, code: int, message_type: str, payload: Any
) -> None:
    house = await open_house(assistant=Failing())
    async with house.connected() as peer:
        sent = await peer.send(message_type, payload)
        refusal = (await peer.until("connection_error", sent))["payload"]
        assert (refusal["error"], refusal["code"]) == (error, code)
        assert refusal["message"]
        await peer.answer(await peer.say("still there?"))


def _words_of_the_gateway() -> set[str]:
    """The first argument of everything that refuses, wherever it stands in the gateway."""
    words: set[str] = set()
    for file in (ROOT / "megabot_cli" / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                at = 1 if name == "Refused" else 0
                if name in ("refuse", "refusal", "Refused") and len(node.args) > at:
                    word = node.args[at]
                    if isinstance(word, ast.Constant) and isinstance(word.value, str):
                        words.add(word.value)
    return words


def test_every_error_word_of_the_gateway_is_in_the_manual() -> None:
    words = _words_of_the_gateway()
    assert {"rate_limited", "not_joined", "upgrade_required"} <= words
    assert [word for word in sorted(words) if word not in PAGE] == []


def test_every_close_code_is_in_the_manual() -> None:
    assert [int(code) for code in CloseCode if str(int(code)) not in PAGE] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/auth/login", {"username": "ada", "password": "no"}, 401, "authentication_failed"),
        ("/api/auth/login", {"username": "ada"}, 400, "bad_request"),
        ("/api/auth/refresh", {"refresh_token": "no"}, 401, "authentication_failed"),
        ("/nowhere", {}, 404, "not_found"),
        ("/healthz", {}, 405, "method_not_allowed"),
    ],
)
async def test_an_http_refusal_has_the_same_three_fields(
    house: House, path: str, body: object, status: int, error: str
) -> None:
    got, refusal = await house.post(path, body)
    assert got == status
    assert set(refusal) == {"error", "message", "code"}
    assert (refusal["error"], refusal["code"]) == (error, status)
