"""What the gateway does with signatures: sign what it sends, refuse what is not signed."""

from __future__ import annotations

from megabot_cli.client.wire_form import open_signer
from megabot_cli.config.schema import IntegritySettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.protocol.signing import Signer
from megabot_cli.protocol.validation import Problem


class Signing:
    """One shared key. `require`: arriving messages must carry a good signature.

    `refused` counts those that did not.
    """

    def __init__(self, signer: Signer, *, require: bool) -> None:
        self.signer = signer
        self._require = require
        self.refused = 0

    def check(self, text: bytes) -> Problem | None:
        """Why an arriving message may not pass; None when it may."""
        problem = self.signer.check(text) if self._require else None
        self.refused += problem is not None
        return problem


def open_signing(settings: IntegritySettings) -> Signing | None:
    """As the settings say; None where no key is set. Raises as `open_signer` does."""
    signer = open_signer(settings.key_file)
    if signer is None:
        if settings.require:
            raise BadConfiguration(
                "gateway.integrity.require is set and gateway.integrity.key_file is not",
                "Name the file that holds the key.",
            )
        return None
    return Signing(signer, require=settings.require)
