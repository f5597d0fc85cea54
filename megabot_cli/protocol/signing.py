"""Signed messages: `metadata.signature` proves who wrote a message, and that nobody changed it.

The signature is an HMAC-SHA256 over id, type, the exact text of the timestamp and the exact
text of the payload, joined by newlines; on the wire `hmac-sha256:<hex>`. Metadata is not
covered: relays and servers add to it.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from megabot_cli.errors import BadData
from megabot_cli.protocol.envelope import UNREADABLE
from megabot_cli.protocol.validation import Problem

SCHEME = "hmac-sha256"
PATH = "$.metadata.signature"


class _Metadata(msgspec.Struct):
    signature: str | None = None


class _Signed(msgspec.Struct):
    id: str
    type: str
    payload: msgspec.Raw
    timestamp: msgspec.Raw = msgspec.Raw(b"")
    metadata: _Metadata | None = None


_Fields = dict[str, msgspec.Raw]
_decoder = msgspec.json.Decoder(_Signed)
_fields_decoder = msgspec.json.Decoder(_Fields)


class Signer:
    """Signs and checks with one shared key (16 bytes or more; raises BadData for less)."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise BadData(f"a signing key has at least 16 bytes, this one has {len(key)}")
        self._key = key

    def sign(self, text: bytes) -> bytes:
        """The message with its signature in the metadata; payload and timestamp keep their text.

        Raises BadData for what is no envelope.
        """
        signature = self._signature(_read(text))
        fields: _Fields = _fields_decoder.decode(text)
        metadata: _Fields = {}
        if "metadata" in fields and fields["metadata"] != b"null":
            metadata = _fields_decoder.decode(fields["metadata"])
        metadata["signature"] = msgspec.Raw(msgspec.json.encode(signature))
        fields["metadata"] = msgspec.Raw(msgspec.json.encode(metadata))
        return msgspec.json.encode(fields)

    def check(self, text: bytes) -> Problem | None:
        """What is wrong with a message's signature; None when it is good."""
        try:
            message = _read(text)
            expected = self._signature(message)
        except BadData as fault:
            return Problem("$", "a signed envelope", "none", fault.message)
        given = message.metadata.signature if message.metadata is not None else None
        if given is None:
            return Problem(PATH, "a signature", "nothing", "messages here must be signed")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
            return Problem(PATH, "the right signature", "another one", "wrong key, or changed")
        return None

    def _signature(self, message: _Signed) -> str:
        if "\n" in message.id or "\n" in message.type:
            # The newline separates: with one inside, two messages could be signed alike.
            raise BadData("id and type of a signed message hold no line break")
        parts = (
            message.id.encode(),
            message.type.encode(),
            bytes(message.timestamp),
            bytes(message.payload),
        )
        digest = hmac.digest(self._key, b"\n".join(parts), hashlib.sha256)
        return f"{SCHEME}:{digest.hex()}"


def _read(text: bytes) -> _Signed:
    try:
        return _decoder.decode(text)
    except UNREADABLE as fault:
        raise BadData(f"only an envelope can be signed: {fault}") from fault
