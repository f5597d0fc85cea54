"""`curl`: login, health and metrics."""

from __future__ import annotations

import json

from tests.peers.programs import needs, path_of
from tests.peers.stage import PASSWORD, USERNAME, Stage


def curl(stage: Stage, url: str, *arguments: str, typed: str = "") -> tuple[int, str, str]:
    """Status, headers in lower case, body."""
    process = stage.processes.start(
        "curl",
        [path_of("curl"), "-sS", "--max-time", "15", "-i", *arguments, url],
        typed=typed,
    )
    assert process.wait(20) == 0, process.said()
    head, _, body = process.output.partition("\n\n")
    return int(head.split()[1]), head.lower(), body


def log_in(stage: Stage, password: str) -> tuple[int, str, str]:
    body = json.dumps({"username": USERNAME, "password": password})
    url = f"{stage.gateway_http}/api/auth/login"
    return curl(stage, url, "-H", "Content-Type: application/json", "-d", "@-", typed=body)


@needs("curl")
def test_the_right_password_gives_a_token(stage: Stage) -> None:
    status, head, body = log_in(stage, PASSWORD)
    answer = json.loads(body)
    assert status == 200
    assert "content-type: application/json" in head
    assert answer["token"].count(".") == 2
    assert answer["expires_in"] > 0
    assert answer["refresh_token"]
    assert answer["user_id"]


@needs("curl")
def test_the_wrong_password_gives_401_and_nothing_else(stage: Stage) -> None:
    status, _, body = log_in(stage, "wrong")
    answer = json.loads(body)
    assert (status, answer["code"]) == (401, 401)
    assert answer["error"]
    assert "token" not in answer
    assert "wrong" not in body


@needs("curl")
def test_a_body_that_is_not_json_gives_400(stage: Stage) -> None:
    url = f"{stage.gateway_http}/api/auth/login"
    status, _, body = curl(
        stage, url, "-H", "Content-Type: application/json", "-d", "@-", typed="{"
    )
    assert (status, json.loads(body)["code"]) == (400, 400)


@needs("curl")
def test_gateway_and_relay_say_that_they_are_well(stage: Stage) -> None:
    for url in (
        f"{stage.gateway_http}/healthz",
        f"{stage.admin_url}/healthz",
        f"{stage.admin_url}/readyz",
    ):
        status, _, body = curl(stage, url)
        assert (status, bool(body)) == (200, True), url


@needs("curl")
def test_the_relays_metrics_are_in_the_form_that_monitoring_reads(stage: Stage) -> None:
    status, head, body = curl(stage, f"{stage.admin_url}/metrics")
    assert status == 200
    assert "content-type: text/plain; version=0.0.4" in head
    names = {line.split()[2] for line in body.splitlines() if line.startswith("# TYPE")}
    assert any(name.startswith("megabot_relay_") for name in names)
    samples = [line for line in body.splitlines() if line and not line.startswith("#")]
    assert all(float(sample.rpartition(" ")[2]) is not None for sample in samples)


@needs("curl")
def test_a_foreign_host_name_is_refused_on_the_admin_address(stage: Stage) -> None:
    status, _, _ = curl(stage, f"{stage.admin_url}/metrics", "-H", "Host: rebound.example")
    assert status == 403


@needs("curl")
def test_the_socket_asks_a_plain_request_to_upgrade(stage: Stage) -> None:
    for url in (stage.gateway_url, stage.relay_url):
        status, _, _ = curl(stage, url.replace("ws://", "http://"))
        assert status in {400, 426}, url
