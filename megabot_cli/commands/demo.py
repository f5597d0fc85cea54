"""`megabot demo`: the main job end to end, with real processes, in under a minute."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from megabot_cli.errors import ExpectationFailed
from megabot_cli.wording import counted

if TYPE_CHECKING:
    import subprocess

    from megabot_cli.terminal.processes import Background

PASSWORD = "a-password-for-the-demo"  # noqa: S105  of a gateway that lives for a minute
METRICS = (
    "megabot_relay_clients ",
    "megabot_relay_messages_total",
    "megabot_relay_reconnects_total",
    "megabot_relay_recorder_records_total",
    "megabot_relay_first_chunk_seconds_count",
)


def demo() -> None:
    """Show the whole product at work, by itself.

    Real processes: gateway, login, relay, clients, recording, replay, metrics. Ends within
    a minute and leaves nothing behind.
    """
    started_at = time.monotonic()
    with temporary_home() as home:
        tour = Tour(home)
        try:
            tour.go()
        finally:
            tour.end()
    print(f"\nAll of it held, in {time.monotonic() - started_at:.0f} s. Nothing was left behind.")


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A folder for everything the tour makes; it goes whatever happens, SIGTERM included."""

    from megabot_cli.commands.running import ENDING_SIGNALS, Interrupted

    def ended(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, ended) for number in ENDING_SIGNALS}
    home = Path(tempfile.mkdtemp(prefix="megabot-demo-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


class Tour:
    """The steps, each of which fails loudly when it does not show what it says."""

    def __init__(self, home: Path) -> None:
        from megabot_cli.terminal import processes

        self._processes = processes
        self._home = home
        self._env = processes.bare_environment(str(home))
        self._running: list[Background] = []
        self._step = 0
        self._session = ""

    # -- telling -----------------------------------------------------------------------

    def say(self, shown: str, *commands: str) -> None:
        self._step += 1
        print(f"\n{self._step}. {shown}")
        for command in commands:
            print(f"   $ {command}")
        sys.stdout.flush()

    def show(self, *lines: str) -> None:
        for line in lines:
            print(f"   {line}")
        sys.stdout.flush()

    def start(self, name: str, *arguments: str, text_in: str = "") -> Background:
        process = self._processes.Background(name, arguments, self._env, text_in)
        self._running.append(process)
        return process

    def run(self, *arguments: str, text_in: str = "") -> subprocess.CompletedProcess[str]:
        done = self._processes.run(arguments, self._env, text_in=text_in)
        if done.returncode != 0:
            command = " ".join(arguments[:2])
            raise ExpectationFailed(
                f"`megabot {command}` ended with {done.returncode}", done.stderr.strip() or None
            )
        return done

    def expect(self, claim: str, holds: object) -> None:
        if not holds:
            raise ExpectationFailed(f"step {self._step}: {claim}: that did not hold")

    def end(self) -> None:
        """End every process, the last started first."""
        for process in reversed(self._running):
            process.stop(5.0)
        self._running.clear()

    # -- the steps ---------------------------------------------------------------------

    def go(self) -> None:
        self._start_gateway()
        self._log_in()
        self._start_relay()
        self._share_a_session()
        self._send()
        self._survive_a_crash()
        self._read_metrics()
        self._seal_and_verify()
        self._replay()

    def _start_gateway(self) -> None:
        self.say(
            "A MegaBot endpoint of our own, on this machine alone",
            "megabot gateway --username demo --password-stdin",
        )
        user = ("--username", "demo", "--password-stdin")
        self._gateway = self._open_gateway("127.0.0.1:0", *user, text_in=PASSWORD)
        self._gateway_url = self._gateway.ready()["url"]
        self.show(f"listening on {self._gateway_url}")

    def _open_gateway(self, listen: str, *more: str, text_in: str = "") -> Background:
        data = ("--data", str(self._home / "gateway"))
        return self.start("gateway", "gateway", "--listen", listen, *data, *more, text_in=text_in)

    def _log_in(self) -> None:
        self.say("Log in once; the credential is kept, the password is not", "megabot login")
        login = ("login", "--url", self._gateway_url, "--username", "demo", "--password-stdin")
        self.run(*login, "--storage", "file", text_in=PASSWORD)
        who = json.loads(self.run("whoami", "--json").stdout)
        self.expect("whoami names the user", who.get("username") == "demo")
        self.show(f"logged in as {who['username']} at {who['url']}")

    def _start_relay(self) -> None:
        self.say(
            "The relay: local programs share authenticated sessions, and all of it is recorded",
            "megabot relay",
        )
        listen = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
        self._relay = self.start("relay", "relay", *listen)
        self._ready = self._relay.ready()
        self.show(f"clients connect to {self._ready['url']}, without a credential")

    def _share_a_session(self) -> None:
        self.say(
            "Two programs on one session, and a tail that watches everything",
            f"wscat -c {self._ready['url']}      (any WebSocket client will do)",
            "megabot tail",
        )
        self._clients = [self._open_client("first client", None)]
        self._session = self._session_of(self._clients[0])
        self._clients.append(self._open_client("second client", self._session))
        self.expect("both are on one session", self._session_of(self._clients[1]) == self._session)
        self._tail = self.start("tail", "tail", "--output", "json")
        self._tail.wait_for("the tail is open", lambda: "tap" in "\n".join(self._tail.error_lines))
        self.show(f"both are on {self._session}")

    def _open_client(self, name: str, session: str | None) -> Background:
        arguments = ["tail", "--direct", "--url", self._ready["url"], "--output", "json"]
        if session is not None:
            arguments += ["--session", session]
        return self.start(name, *arguments)

    def _session_of(self, client: Background) -> str:
        def greeted() -> str | None:
            for record in messages(client, "connection_established"):
                return str(record["payload"]["session_id"])
            return None

        session: str = client.wait_for("the greeting", greeted)
        return session

    def _send(self) -> None:
        self.say(
            "Send; the answer streams in, and every client of the session sees it",
            f'megabot send "What is a relay?" --session {self._session}',
        )
        answer = self.run("send", "What is a relay?", "--session", self._session).stdout.strip()
        self.expect("there is an answer", answer)
        self.show(*answer.splitlines())
        for client in self._clients:
            client.wait_for("the answer", partial(answered, client, 1))
        chunks = len(list(messages(self._clients[0], "chat_stream")))
        seen = sum("chat_stream" in line for line in self._tail.lines)
        self.expect("the tail saw the chunks", seen >= chunks)
        self.show(f"(streamed in {chunks} chunks; both clients and the tail saw them)")

    def _survive_a_crash(self) -> None:
        self.say(
            "The upstream is killed; a message waits; the upstream comes back: nobody was dropped",
            "kill -9 GATEWAY",
            f'megabot send "Are you there?" --session {self._session}',
            "megabot gateway",
        )
        self._gateway.kill()
        for client in self._clients:
            client.wait_for("the news of the loss", partial(told, client, "reconnecting"))
        waiting = self.start("send", "send", "Are you there?", "--session", self._session)
        self._relay.wait_for(
            "the message waits", lambda: self._metric("upstream_queue_messages") == 1
        )
        host_port = self._gateway_url.removeprefix("ws://").removesuffix("/ws")
        self._gateway = self._open_gateway(host_port)
        self._gateway.ready()
        for client in self._clients:
            client.wait_for("the news of the return", partial(told, client, "connected"))
            client.wait_for("the second answer", partial(answered, client, 2))
        self.expect("the waiting message was answered", waiting.finish(20.0) == 0 and waiting.lines)
        self.show(*waiting.lines)
        self.expect("no client was dropped", all(client.running for client in self._clients))
        self.show("(both clients stayed connected; the session was resumed)")

    def _read_metrics(self) -> None:
        self.say("What the relay counts, as Prometheus reads it", "curl …/metrics")
        lines = [line for line in self._metrics() if line.startswith(METRICS)]
        self.expect("one link came back", self._metric("reconnects_total") == 1)
        self.show(*lines)

    def _metrics(self) -> list[str]:
        import urllib.request

        address = f"{self._ready['admin_url']}/metrics"
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310  loopback http
            return str(answer.read().decode()).splitlines()

    def _metric(self, name: str) -> float | None:
        prefix = f"megabot_relay_{name} "
        found = (line for line in self._metrics() if line.startswith(prefix))
        return next((float(line.removeprefix(prefix)) for line in found), None)

    def _seal_and_verify(self) -> None:
        self.say(
            "Stop the relay: it drains and seals its recording, which is then verified",
            "kill -TERM RELAY",
            "megabot recordings verify last --no-secrets",
        )
        self.expect("the relay ends with 0", self._relay.stop() == 0)
        for client in self._clients:
            client.stop(5.0)
        verdict = json.loads(
            self.run("recordings", "verify", "last", "--no-secrets", "--json").stdout
        )
        self.expect("the recording is clean", verdict["clean"])
        self.show(f"{counted(verdict['records'], 'record')}, sealed, no hole, no secret")

    def _replay(self) -> None:
        self.say(
            "Replay it against the gateway and compare the answers with the recorded ones",
            f"megabot replay last --to {self._gateway_url} --pace fast --expect exact",
        )
        replay = ("replay", "last", "--to", self._gateway_url, "--pace", "fast")
        report = json.loads(self.run(*replay, "--expect", "exact", "--json").stdout)
        self.expect("the answers are the same", report["different"] == 0 and report["same"] >= 2)
        self.show(f"{counted(report['sent'], 'message')} sent, {report['same']} answers the same")


def messages(client: Background, kind: str) -> Iterator[dict[str, Any]]:
    """The messages of one type that a client has printed so far."""
    for line in list(client.lines):
        record = json.loads(line)
        message = json.loads(record["data"]) if "data" in record else record
        if message.get("type") == kind:
            yield message


def answered(client: Background, count: int) -> bool:
    """Whether the client has seen that many whole answers."""
    return len(list(messages(client, "chat_receive"))) == count


def told(client: Background, status: str) -> bool:
    """Whether the last thing the client heard of the upstream is `status`."""
    heard = [message["payload"]["status"] for message in messages(client, "status_update")]
    return heard[-1:] == [status]
