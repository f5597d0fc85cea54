"""Make what waits for a slow client shorter without losing what it says."""

from __future__ import annotations

from typing import Any

import msgspec

from megabot_cli.protocol.envelope import Head, open_envelope, peek
from megabot_cli.relay.corner import mentions, with_corner

_NEWEST_ONLY = frozenset({"status_update", "collaborative_action"})


class Item(msgspec.Struct, frozen=True, gc=False):
    """One message that waits: its text, whether it is binary, and the number up to which a
    client has everything once this is written (0: it says nothing about that)."""

    data: bytes
    seq: int
    binary: bool = False


def merge(items: list[Item], sent_seq: int = 0) -> list[Item]:
    """Join chunks of one stream; keep the newest of what replaces.

    A `status_update` replaces an older one of its task, a `cursor_move` an older one of
    its user. Nothing else is touched, and nothing moves past it. The joined chunk has the
    last one's `sequence`, `is_complete` and id, and a number of chunks in
    `metadata.merged`.

    `sent_seq`: up to where the client has everything before these. In a run that was
    merged only its last message completes what the run holds; a client that is cut off
    in the middle gets the run again rather than miss a part of it.
    """
    kept: list[Item] = []
    run: list[tuple[Item, Head]] = []
    for item in items:
        head = None if item.binary else peek(item.data)
        if head is not None and (head.type == "chat_stream" or head.type in _NEWEST_ONLY):
            run.append((item, head))
            continue
        if run:
            kept += _merge_run(run, sent_seq)
            sent_seq = max(sent_seq, _top(run))
            run = []
        kept.append(item)
        sent_seq = item.seq or sent_seq
    return kept + _merge_run(run, sent_seq)


def _merge_run(run: list[tuple[Item, Head]], sent_seq: int) -> list[Item]:
    kept: list[Item] = []
    open_chunks: dict[str, tuple[int, list[dict[str, Any]]]] = {}
    replaced: dict[str, int] = {}
    for item, head in run:
        if head.type == "chat_stream":
            _take_chunk(item, head, kept, open_chunks)
            continue
        key = _replaces(item.data, head)
        if key is not None:
            if key in replaced:
                kept[replaced[key]] = _GONE
            replaced[key] = len(kept)
        kept.append(item)
    for place, chunks in open_chunks.values():
        if len(chunks) > 1:
            kept[place] = Item(_joined(chunks), kept[place].seq)
    merged = [item for item in kept if item is not _GONE]
    if len(merged) == len(run):
        return merged
    *before, last = merged
    # A notice of the relay's has no number; where it is the last, the run is complete with it.
    ended = last if last.seq else Item(last.data, _top(run))
    return [*(_before_the_end(item, sent_seq) for item in before), ended]


def _top(run: list[tuple[Item, Head]]) -> int:
    return max(item.seq for item, _ in run)


def _before_the_end(item: Item, sent_seq: int) -> Item:
    """A message in a merged run: once it is written the client has no more than before."""
    data = item.data
    if mentions(data):
        metadata = msgspec.json.decode(data).get("metadata")
        corner = metadata.get("megabot") if isinstance(metadata, dict) else None
        if isinstance(corner, dict) and isinstance(corner.get("cursor"), str):
            epoch = corner["cursor"].rpartition(":")[0]
            data = with_corner(data, {**corner, "cursor": f"{epoch}:{sent_seq}"})
    return Item(data, sent_seq)


def _take_chunk(
    item: Item,
    head: Head,
    kept: list[Item],
    open_chunks: dict[str, tuple[int, list[dict[str, Any]]]],
) -> None:
    message = _decoded(item.data)
    if message is None or not isinstance(message["payload"].get("chunk"), str):
        kept.append(item)
        return
    stream = head.reply_to or message["payload"].get("stream_id")
    key = stream if isinstance(stream, str) else f"session {head.session_id}"
    place, chunks = open_chunks.pop(key, (-1, []))
    if place >= 0:
        kept[place] = _GONE  # the joined chunk stands where the last one stood
    chunks.append(message)
    if message["payload"].get("is_complete") is True:
        kept.append(Item(_joined(chunks), item.seq) if len(chunks) > 1 else item)
        return
    open_chunks[key] = (len(kept), chunks)
    kept.append(item)


def _joined(chunks: list[dict[str, Any]]) -> bytes:
    message = chunks[-1]
    payload = {**message["payload"], "chunk": "".join(each["payload"]["chunk"] for each in chunks)}
    metadata = message.get("metadata")
    before = [_merged_before(each) for each in chunks]
    metadata = {**(metadata if isinstance(metadata, dict) else {}), "merged": sum(before)}
    return msgspec.json.encode({**message, "payload": payload, "metadata": metadata})


def _merged_before(message: dict[str, Any]) -> int:
    metadata = message.get("metadata")
    count = metadata.get("merged", 1) if isinstance(metadata, dict) else 1
    return count if isinstance(count, int) else 1


def _replaces(data: bytes, head: Head) -> str | None:
    """The name under which a newer message of its kind makes an older one worthless."""
    message = _decoded(data)
    if message is None:
        return None
    payload = message["payload"]
    if head.type == "status_update":
        task = payload.get("task_id") or head.reply_to
        return f"status {task}" if isinstance(task, str) else None
    if payload.get("action") != "cursor_move":
        return None
    return f"cursor {payload.get('session_id')} {payload.get('user_id')}"


def _decoded(data: bytes) -> dict[str, Any] | None:
    if open_envelope(data) is None:
        return None
    try:
        message: dict[str, Any] = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return message if isinstance(message.get("payload"), dict) else None


_GONE = Item(b"", 0)
