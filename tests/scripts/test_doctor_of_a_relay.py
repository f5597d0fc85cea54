"""`megabot doctor --url RELAY`: a relay that is named as if it were the upstream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.scripts.conftest import PASSWORD, Operator, at_a_gateway_of_her_own
from tests.support.processes import Process, Processes, megabot

LISTEN = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")


def start_relay(processes: Processes, operator: Operator, *more: str) -> Process:
    command = megabot("relay", *LISTEN, *more)
    return processes.start("relay", command, env=operator.environment(), typed="")


def examine(
    operator: Operator, url: str, env: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every check by its name, and the whole."""
    done = operator.types("doctor", "--json", "--url", url, env=env)
    facts = json.loads(done.stdout)
    return {each["check"]: each for each in facts["checks"]}, facts


def test_a_relay_needs_no_login_of_its_own_and_says_how_its_links_are(
    stranger: Operator, processes: Processes
) -> None:
    stranger.logs_in()
    url = start_relay(processes, stranger).ready()["url"]
    assert stranger.types("send", "--url", url, "hello").returncode == 0
    found, whole = examine(stranger, url)
    assert whole["ok"], whole
    assert found["relay"]["verdict"] == "ok"
    assert "the profile names this relay" in found["relay"]["message"]
    assert found["relay"]["message"].endswith("1 link up"), found["relay"]
    assert "none needed: a relay listens there" in found["login"]["message"]
    assert found["socket"]["verdict"] == "ok"
    assert found["compression"]["verdict"] == "skipped"
    by_name = url.replace("127.0.0.1", "localhost")
    assert "the profile names this relay" in examine(stranger, by_name)[0]["relay"]["message"]


def test_a_relay_of_which_nothing_is_known_here_needs_no_login_either(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    stranger.logs_in()
    url = start_relay(processes, stranger).ready()["url"]
    home = tmp_path / "elsewhere"
    home.mkdir(mode=0o700)
    found, whole = examine(Operator(home, url), url)
    assert whole["ok"], whole
    assert "none needed: a relay listens there" in found["login"]["message"]


def test_a_relay_whose_upstream_is_away_is_reached_and_says_so(
    stranger: Operator, processes: Processes
) -> None:
    ann, gateway = at_a_gateway_of_her_own(stranger, processes)
    relay = start_relay(processes, ann)
    url = relay.ready()["url"]
    gateway.stop()
    relay.wait_for_line("link.lost")
    found, whole = examine(ann, url)
    assert found["relay"]["verdict"] == "warn"
    assert "megabot relay status" in found["relay"]["fix"]
    assert found["tcp"]["verdict"] == found["login"]["verdict"] == "ok"
    assert found["socket"]["verdict"] == "fail"
    assert "the upstream is away" in found["socket"]["message"]
    assert found["metadata"]["verdict"] == "skipped"
    assert whole["exit"] == 7


def test_a_relay_that_wants_its_client_token_is_told_with_how_to_give_it(
    stranger: Operator, processes: Processes
) -> None:
    stranger.logs_in()
    (stranger.home / "config.yaml").write_text("relay:\n  require_token: true\n")
    ready = start_relay(processes, stranger).ready()
    found, whole = examine(stranger, ready["url"])
    assert found["login"]["verdict"] == "ok"
    assert "client token" in found["socket"]["message"]
    assert "MEGABOT_TOKEN" in found["socket"]["fix"]
    assert whole["exit"] == 4
    token = (stranger.home / "state" / "client-token").read_text().strip()
    let_in = examine(stranger, ready["url"], env={"MEGABOT_TOKEN": token})[0]
    assert let_in["login"]["message"].endswith("MEGABOT_TOKEN; a relay listens there")
    assert let_in["compression"]["verdict"] == "skipped", let_in["compression"]
    assert {each["verdict"] for each in let_in.values()} == {"ok", "skipped"}, let_in


def test_a_login_at_a_relay_is_told_that_none_is_needed(
    stranger: Operator, processes: Processes
) -> None:
    stranger.logs_in()
    ready = start_relay(processes, stranger).ready()
    given = ("--username", "ann", "--password-stdin")
    done = stranger.types("login", "--url", ready["url"], *given, typed=PASSWORD)
    assert done.returncode == 6
    assert "a relay listens there, and logs in itself" in done.stderr
    assert f"`megabot send --url {ready['url']}" in done.stderr


def test_the_address_for_its_operator_is_told_with_the_one_for_clients(
    stranger: Operator, processes: Processes
) -> None:
    stranger.logs_in()
    ready = start_relay(processes, stranger).ready()
    found, whole = examine(stranger, ready["admin_url"].replace("http:", "ws:"))
    assert found["login"]["message"] == f"{ready['admin_url']} is for a relay's operator"
    assert found["login"]["fix"] == f"Clients connect to {ready['url']}."
    assert whole["exit"] == 6


def test_a_relay_whose_credential_is_refused_is_told_with_what_helps(
    stranger: Operator, processes: Processes, port: int
) -> None:
    there = ("--listen", f"127.0.0.1:{port}", "--username", "ann", "--password-stdin")
    gateway = processes.megabot("gateway", *there, typed=PASSWORD)
    ann = Operator(stranger.home, gateway.ready()["url"])
    ann.logs_in()
    relay = start_relay(processes, ann)
    url = relay.ready()["url"]
    gateway.stop()
    processes.megabot("gateway", *there, typed=PASSWORD).ready()
    relay.wait_for_line("link.refused")
    found, _ = examine(ann, url)
    assert found["relay"]["fix"] == "`megabot login`, then `megabot relay reauth`."


def test_a_socket_where_nobody_listens_is_told_with_what_starts_a_relay_there(
    stranger: Operator, tmp_path: Path
) -> None:
    url = f"unix:{tmp_path}/none.sock"
    starts = f"`megabot relay --listen {url}` starts one."
    found, _ = examine(stranger, url)
    assert found["tcp"]["fix"] == f"Is it running? {starts}"
    assert starts in stranger.types("send", "hi", "--url", url).stderr
