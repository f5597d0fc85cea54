"""Which secrets are in use in this run, so that what is kept or shown to others has none."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from megabot_cli.errors import MegabotError

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.recording.known_secrets import KnownSecrets

VARIABLES = (
    "MEGABOT_TOKEN",
    "MEGABOT_API_KEY",
    "MEGABOT_MODEL_KEY",
    "MEGABOT_FLAT_TOKEN",
    "OPENAI_API_KEY",
)


def secrets_in_environment(invocation: Invocation) -> KnownSecrets:
    """The run's known secrets, with those that variables give; whoever makes more tells them."""
    known = invocation.known_secrets
    given = (invocation.environ.get(name) for name in VARIABLES)
    known.learn("environment", [secret for secret in given if secret])
    return known


def secrets_in_use(invocation: Invocation) -> KnownSecrets:
    """Those too by which the profile in force comes in upstream and at the relay that runs: a
    relay's upstream may repeat what only the relay has told it."""
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.commands.upstream import client_token, known_credential

    known = secrets_in_environment(invocation)
    configuration = invocation.configuration
    with suppress(MegabotError):  # what cannot be read is no secret of this run's
        origin = parse_endpoint(configuration.profile.url).origin
        credential = known_credential(invocation, origin)
        if credential is not None:
            proofs = (credential.secret, credential.refresh_token)
            known.learn(configuration.profile_name, [proof for proof in proofs if proof])
    with suppress(MegabotError):
        relay = invocation.running_relay()
        token = client_token(Path(relay.token_file)) if relay is not None else None
        known.learn("client token", [token] if token is not None else [])
    return known
