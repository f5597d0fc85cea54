"""A gateway and a relay as real processes, and what a peer must know to reach them."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.ledger import Ledger
from tests.support.processes import Processes, running_processes

USERNAME = "ann"
PASSWORD = "correct horse battery staple"
QUESTION = "Hello MegaBot!"
ANSWER = (
    "You said “Hello MegaBot!” to me, which is 2 words and 14 characters."
    " The longest of them is “MegaBot!”. From the last to the first they read: MegaBot! Hello"
)


@dataclass(frozen=True)
class Stage:
    """Addresses and credentials, for as long as the processes run."""

    gateway_url: str
    gateway_http: str
    relay_url: str
    admin_url: str
    token: str
    api_key: str
    processes: Processes

    @property
    def gateway_url_with_token(self) -> str:
        """As a browser connects: it can set no header."""
        return f"{self.gateway_url}?token={self.token}"


def chat_message(message_id: str, content: str = QUESTION) -> str:
    """The specification's `chat_send`, with no more than it shows."""
    return json.dumps({"id": message_id, "type": "chat_send", "payload": {"content": content}})


def answer_in(messages: list[dict[str, Any]], asked: str) -> str:
    """Put the answer to `asked` together from its chunks, and see that it came as it should."""
    ours = [each for each in messages if each.get("metadata", {}).get("reply_to") == asked]
    chunks = [each["payload"] for each in ours if each["type"] == "chat_stream"]
    whole = [each["payload"]["content"] for each in ours if each["type"] == "chat_receive"]
    streamed = "".join(chunk["chunk"] for chunk in chunks)
    assert len(chunks) > 2, messages
    assert [chunk["sequence"] for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert [chunk["is_complete"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert whole == [streamed]
    return streamed


@contextmanager
def open_stage(home: Path, allowed_origins: list[str]) -> Iterator[Stage]:
    """Start everything as an operator would: gateway, login, relay."""
    with running_processes(home) as processes:
        data = home / "gateway"
        gateway_url, gateway_http, api_key = _start_gateway(processes, data)
        configuration = {
            "profiles": {"default": {"url": gateway_url, "username": USERNAME}},
            "relay": {"allowed_origins": allowed_origins},
        }
        (home / "config.yaml").write_text(json.dumps(configuration))  # JSON is YAML
        _log_in(processes, gateway_url)
        relay = processes.megabot(
            "relay", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"
        ).ready()
        yield Stage(
            gateway_url=gateway_url,
            gateway_http=gateway_http,
            relay_url=relay["url"],
            admin_url=relay["admin_url"],
            token=_token(gateway_http),
            api_key=api_key,
            processes=processes,
        )


def _start_gateway(processes: Processes, data: Path) -> tuple[str, str, str]:
    data.mkdir(parents=True, mode=0o700)
    with contextlib.closing(Ledger.open(data)) as ledger:
        users = Users.open(ledger, cost=2)
        users.add(USERNAME, PASSWORD)
        api_key = users.add_api_key(USERNAME)
    arguments = ["--listen", "127.0.0.1:0", "--data", str(data), "--username", USERNAME]
    arguments += ["--chunk-delay", "1ms", "--latency", "1ms", "--password-stdin"]
    ready = processes.megabot("gateway", *arguments, typed=PASSWORD).ready()
    return ready["url"], ready["http_url"], api_key


def _log_in(processes: Processes, url: str) -> None:
    login = processes.run(
        "login", "--url", url, "--username", USERNAME, "--password-stdin", typed=PASSWORD
    )
    assert login.wait() == 0, login.said()


def _token(gateway_http: str) -> str:
    """Log in as the specification's `fetch` does."""
    request = urllib.request.Request(  # noqa: S310  our own gateway
        f"{gateway_http}/api/auth/login",
        data=json.dumps({"username": USERNAME, "password": PASSWORD}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        token: str = json.load(response)["token"]
    return token
