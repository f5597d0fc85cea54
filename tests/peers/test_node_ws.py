"""node's `ws`: header authentication and compression as the specification shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.peers.programs import needs, node, node_environment
from tests.peers.stage import ANSWER, Stage, answer_in, chat_message

SCRIPT = Path(__file__).with_name("ws_client.cjs")
LONG = " ".join(f"word{n}" for n in range(1000))  # enough that compression pays


def converse(
    stage: Stage, url: str, *say: str, credential: str = "", until: str = "chat_receive"
) -> dict[str, Any]:
    process = stage.processes.start(
        "node ws",
        node(SCRIPT, url, *([credential] if credential else [])),
        typed=json.dumps({"say": say, "until": until}),
        env=node_environment(),
    )
    assert process.wait(20) == 0, process.said()
    seen: dict[str, Any] = json.loads(process.output)
    return seen


@needs("node", "ws")
def test_an_api_key_in_headers_opens_the_gateway(stage: Stage) -> None:
    seen = converse(stage, stage.gateway_url, chat_message("n1"), credential=stage.api_key)
    assert seen["messages"][0]["type"] == "connection_established"
    assert answer_in(seen["messages"], "n1") == ANSWER
    assert (seen["pong"], seen["code"]) == (True, 1000)


@needs("node", "ws")
def test_a_token_in_headers_opens_the_gateway(stage: Stage) -> None:
    seen = converse(stage, stage.gateway_url, chat_message("n2"), credential=stage.token)
    assert answer_in(seen["messages"], "n2") == ANSWER


@needs("node", "ws")
def test_the_relay_needs_no_credential(stage: Stage) -> None:
    seen = converse(stage, stage.relay_url, chat_message("n3"))
    assert answer_in(seen["messages"], "n3") == ANSWER
    assert (seen["pong"], seen["code"]) == (True, 1000)


@needs("node", "ws")
def test_the_gateway_agrees_on_compression_and_a_long_answer_arrives_whole(stage: Stage) -> None:
    seen = converse(stage, stage.gateway_url, chat_message("n4", LONG), credential=stage.api_key)
    assert "permessage-deflate" in seen["extensions"]
    assert answer_in(seen["messages"], "n4").startswith("You said “word0 word1")


@needs("node", "ws")
def test_a_client_that_offers_the_relay_compression_is_served(stage: Stage) -> None:
    seen = converse(stage, stage.relay_url, chat_message("n5", LONG))
    assert answer_in(seen["messages"], "n5").startswith("You said “word0 word1")


@needs("node", "ws")
def test_the_specifications_batch_is_answered_message_by_message(stage: Stage) -> None:
    batch = {
        "id": "b1",
        "type": "batch",
        "payload": {"messages": [json.loads(chat_message(f"b1_{n}")) for n in (1, 2)]},
        "timestamp": 1640995200224,
    }
    seen = converse(
        stage,
        stage.gateway_url,
        json.dumps(batch),
        chat_message("b2"),
        credential=stage.api_key,
    )
    answered = [each.get("metadata", {}).get("reply_to") for each in seen["messages"]]
    assert "b1_1" in answered
    assert answer_in(seen["messages"], "b1_1") == ANSWER


@needs("node", "ws")
def test_no_credential_is_refused_by_the_gateway(stage: Stage) -> None:
    seen = converse(stage, stage.gateway_url)
    assert seen["messages"][0]["payload"]["code"] == 401
    assert seen["code"] == 1008
