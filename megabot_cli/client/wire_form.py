"""How messages travel on a client's connection: as they are, as gzip, signed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import aiohttp

from megabot_cli.client.received import Received
from megabot_cli.errors import BadConfiguration, BadData, NotFound
from megabot_cli.protocol.compression import (
    THRESHOLD_BYTES,
    Overlong,
    compress,
    inflate,
    is_gzip,
)
from megabot_cli.protocol.envelope import peek
from megabot_cli.protocol.signing import Signer


class WireForm:
    """Turns what is sent into frames, and frames into what is heard.

    `gzip`: text of 1024 bytes and more leaves as gzip in a binary message. `signer` signs
    every envelope that is sent; with `require_signatures` what comes must be signed too,
    and what is not is dropped and counted in `unsigned`. Either form is always understood.
    """

    def __init__(
        self,
        *,
        gzip: bool = False,
        signer: Signer | None = None,
        require_signatures: bool = False,
        most_bytes: int = 0,
    ) -> None:
        self._gzip = gzip
        self._signer = signer
        self._require = require_signatures and signer is not None
        self._most_bytes = most_bytes
        self.unsigned = 0

    @property
    def demands_signatures(self) -> bool:
        return self._require

    @property
    def leaves_texts_alone(self) -> bool:
        """Whether what is sent travels as it is."""
        return self._signer is None and not self._gzip

    def outgoing(self, text: str | bytes) -> tuple[bytes, aiohttp.WSMsgType]:
        """One message as it goes onto the wire: str as text, bytes as binary.

        Raises BadData for a text that holds half of a character.
        """
        if isinstance(text, bytes):
            return text, aiohttp.WSMsgType.BINARY
        try:
            data = text.encode()
        except UnicodeEncodeError:
            raise BadData("The text holds half of a character (a lone surrogate)") from None
        if self._signer is not None and peek(data) is not None:
            data = self._signer.sign(data)
        if self._gzip and len(data) >= THRESHOLD_BYTES:
            return compress(data), aiohttp.WSMsgType.BINARY
        return data, aiohttp.WSMsgType.TEXT

    def incoming(self, kind: aiohttp.WSMsgType, data: Any) -> Received | None:
        """What a message says; None for what must not be believed.

        Binary that is no gzip of a text stays binary. Raises UnicodeDecodeError for text
        that is not UTF-8, and `Overlong` for gzip of more than may come.
        """
        text = data
        if kind is aiohttp.WSMsgType.BINARY:
            text = self._inflated(bytes(data))
            if text is None:
                return Received(bytes(data), None, time.time())
        if self._require and self.problem(text) is not None:
            self.unsigned += 1
            return None
        decoded = text.decode()
        packed = bytes(data) if kind is aiohttp.WSMsgType.BINARY else None
        return Received(decoded, peek(decoded), time.time(), packed is not None, packed)

    def problem(self, text: bytes) -> str | None:
        """What is wrong with a message's signature, where one is demanded."""
        if not self._require or self._signer is None:
            return None
        problem = self._signer.check(text)
        return str(problem) if problem is not None else None

    def _inflated(self, data: bytes) -> bytes | None:
        if not is_gzip(data):
            return None
        try:
            text = inflate(data, self._most_bytes)
            text.decode()
        except Overlong:
            raise
        except (BadData, UnicodeDecodeError):
            return None
        return text


def open_signer(key_file: str | None) -> Signer | None:
    """The signer with the key in a file; surrounding white space is not part of the key.

    Raises NotFound and BadConfiguration for a file that is not there or of no use.
    """
    if key_file is None:
        return None
    path = Path(key_file).expanduser()
    hint = "Make one with: openssl rand -hex 32 > FILE; chmod 600 FILE"
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        raise NotFound(f"integrity.key_file {path} is not there", hint) from None
    except OSError as fault:
        reason = fault.strerror or "it cannot be read"
        raise BadConfiguration(f"integrity.key_file {path}: {reason}", hint) from None
    if path.stat().st_mode & 0o077:
        raise BadConfiguration(
            f"integrity.key_file {path} can be read by others", f"chmod 600 {path}"
        )
    try:
        return Signer(key)
    except BadData as fault:
        raise BadConfiguration(f"integrity.key_file {path}: {fault.message}", hint) from None
