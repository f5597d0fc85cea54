"""The little that routing reads in a payload: keys, whether a stream ends, an error's code."""

from __future__ import annotations

from typing import Any

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE


class Keys(msgspec.Struct, frozen=True):
    """What in a payload names the work that a message belongs to."""

    execution_id: str | None = None
    task_id: str | None = None
    stream_id: str | None = None

    def names(self) -> list[str]:
        return [name for name in (self.execution_id, self.task_id, self.stream_id) if name]


class _Keyed(msgspec.Struct):
    payload: Keys = Keys()


class _AnyKeys(msgspec.Struct):
    execution_id: Any = None
    task_id: Any = None
    stream_id: Any = None


class _AnyKeyed(msgspec.Struct):
    payload: _AnyKeys


class _ChunkPayload(msgspec.Struct, frozen=True):
    is_complete: bool = False


class _Chunk(msgspec.Struct):
    payload: _ChunkPayload = _ChunkPayload()


_keys_decoder = msgspec.json.Decoder(_Keyed)
_any_decoder = msgspec.json.Decoder(_AnyKeyed)
_chunk_decoder = msgspec.json.Decoder(_Chunk)
_NO_KEYS = Keys()


def read_keys(data: bytes) -> Keys:
    """The keys in a message's payload; none where it cannot be read. One that is no string is
    no key, and hides no other."""
    try:
        return _keys_decoder.decode(data).payload
    except UNREADABLE:
        return _keys_among_others(data)


def _keys_among_others(data: bytes) -> Keys:
    try:
        payload = _any_decoder.decode(data).payload
    except UNREADABLE:
        return _NO_KEYS
    values = (payload.execution_id, payload.task_id, payload.stream_id)
    return Keys(*(value if isinstance(value, str) else None for value in values))


class _ErrorPayload(msgspec.Struct, frozen=True):
    code: int | None = None


class _Error(msgspec.Struct):
    payload: _ErrorPayload = _ErrorPayload()


_error_decoder = msgspec.json.Decoder(_Error)


def refusal_code(data: bytes) -> int | None:
    """The code of a `connection_error`, if it has one."""
    try:
        return _error_decoder.decode(data).payload.code
    except UNREADABLE:
        return None


def completes(data: bytes) -> bool:
    """Whether a chunk is the last of its stream."""
    try:
        return _chunk_decoder.decode(data).payload.is_complete
    except UNREADABLE:
        return False
