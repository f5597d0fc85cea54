from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["ids", "endpoint", "credentials", "keyring_access"])
def test_what_every_command_needs_costs_no_aiohttp_and_no_event_loop(module: str) -> None:
    program = (
        f"import sys, megabot_cli.client.{module}\n"
        "print([name for name in ('aiohttp', 'asyncio', 'keyring') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_client_is_found_where_the_readme_says() -> None:
    program = "from megabot_cli.client import Answer, ClientEvent, MegaBotClient, Received"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
