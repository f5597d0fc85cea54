"""The key of the model behind `gateway --assistant openai:URL`: never in a file of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation

VARIABLES = ("MEGABOT_MODEL_KEY", "OPENAI_API_KEY")
KEYRING_ENTRY = "model-key"


def model_key(invocation: Invocation) -> str | None:
    """From the environment, else from the system's keyring; None where neither has one."""
    key = _found(invocation)
    invocation.known_secrets.learn("model key", [key] if key is not None else [])
    return key


def _found(invocation: Invocation) -> str | None:
    for name in VARIABLES:
        if key := invocation.environ.get(name):
            return key
    from megabot_cli.client.keyring_access import KeyringAccess, KeyringFailed

    try:
        return KeyringAccess().read(KEYRING_ENTRY)
    except KeyringFailed as fault:
        invocation.console.detail(f"no key for the model: the keyring is of no use, {fault}")
        return None
