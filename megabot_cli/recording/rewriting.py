"""Make a recorded message new: fresh ids, the same id wherever it is referred to, today's time.

Only those values change; the rest of the text stays as it was recorded. What is no envelope
is said again as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from megabot_cli.protocol import flat
from megabot_cli.protocol.envelope import MILLISECONDS_FROM, peek
from megabot_cli.protocol.ids import Prefix
from megabot_cli.recording.json_walk import Leaf, Walk, unescape

# Where a message refers to something that has another name in this replay.
_REFERENCES: Final = frozenset(
    (
        ("metadata", "reply_to"),
        ("metadata", "session_id"),
        ("payload", "execution_id"),
        ("payload", "task_id"),
        ("payload", "stream_id"),
        ("payload", "session_id"),
        # the same in the dialect that has no payload
        ("reply_to",),
        ("session_id",),
        ("execution_id",),
        ("task_id",),
        ("stream_id",),
    )
)
_OURS: Final = frozenset(("tool_call",))  # types whose sender makes up the execution id
_IN_METADATA: Final = ("reply_to", "session_id")
_IN_PAYLOAD: Final = ("execution_id", "task_id", "stream_id", "session_id")
_ANYWHERE: Final = ("reply_to", *_IN_PAYLOAD)  # in the dialect without payload
_COLON: Final = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")

Edit = tuple[int, int, str]


class _References(msgspec.Struct, gc=False):
    reply_to: Any = None
    session_id: Any = None
    execution_id: Any = None
    task_id: Any = None
    stream_id: Any = None


class _Message(_References, gc=False):
    id: Any = None
    type: Any = None
    timestamp: msgspec.Raw = msgspec.Raw()
    metadata: _References | None = None
    payload: _References | None = None


_message_decoder = msgspec.json.Decoder(_Message)
# Most messages begin so, and end with when they were sent.
_FIRST_ID: Final = re.compile(r'\{[ \t\r\n]*"id"[ \t\r\n]*:[ \t\r\n]*"([^"\\]*)"')
_TIMESTAMP: Final = re.compile(r'"timestamp"[ \t\r\n]*:[ \t\r\n]*')
_NAMES_NOTHING: Final = _References()


class IdMap:
    """Which recorded id is which one now. `new_id` makes fresh ones.

    What is not known here may be known `above`.
    """

    def __init__(self, new_id: Callable[[Prefix], str], above: IdMap | None = None) -> None:
        self._new_id = new_id
        self._above = above
        self._now: dict[str, str] = {}

    def learn(self, recorded: str, now: str) -> None:
        self._now[recorded] = now

    def offer(self, recorded: str, now: str) -> None:
        """As `learn`, where nothing else stands for it."""
        self._now.setdefault(recorded, now)

    def fresh(self, recorded: str, prefix: Prefix) -> str:
        """The id that stands for a recorded one, made when it is met first."""
        if recorded not in self._now:
            self._now[recorded] = self._new_id(prefix)
        return self._now[recorded]

    def learn_all(self, recorded: Sequence[str], now: Sequence[str]) -> bool:
        """Have these stand for those. False, and nothing learnt: one was met before, or twice."""
        known = self._now
        if not known.keys().isdisjoint(recorded) or len(set(recorded)) < len(recorded):
            return False
        known.update(zip(recorded, now, strict=True))
        return True

    def has(self, recorded: str) -> bool:
        """Whether anything stands for a recorded id so far."""
        return recorded in self._now or (self._above is not None and self._above.has(recorded))

    def known(self, recorded: str) -> str:
        """The id that stands for a recorded one; itself where we never heard of it."""
        if recorded in self._now or self._above is None:
            return self._now.get(recorded, recorded)
        return self._above.known(recorded)


def rewrite(text: str, ids: IdMap, now_s: float) -> str:
    """Return the message as it is to be sent at `now_s` (Unix seconds)."""
    head = peek(text)
    if head is None or head.id is None or head.type is None:
        return text
    edits = _sought_edits(text, ids, now_s)
    return _edited(text, _edits(text, head.type, ids, now_s) if edits is None else edits)


class Template(msgspec.Struct, frozen=True, gc=False):
    """A message that names nothing but itself: where its id and its time stand, from and to, and
    how the time is written (an index into `stamps`). Messages of one form have the same."""

    start: int
    end: int
    stamp: int
    stamp_end: int
    form: int


def filled_all(
    templates: Iterable[tuple[Template, str]], ids: Iterable[str], now_s: float
) -> list[str | bytes]:
    """The messages with the ids that they have now, and the time: what `rewrite` makes of each,
    in a tenth of the time."""
    today = stamps(now_s)
    return [
        f"{text[: at.start]}{now}{text[at.end : at.stamp]}{today[at.form]}{text[at.stamp_end :]}"
        for (at, text), now in zip(templates, ids, strict=True)
    ]


_SECONDS, _FRACTION, _MILLISECONDS, _NO_TIME = range(4)


def stamps(now_s: float) -> Sequence[str]:
    """A time (Unix seconds) in each form of which `Template` knows."""
    return str(int(now_s)), f"{now_s:.3f}", str(int(now_s * 1000)), ""


def template_of(text: str) -> Template | None:
    """Where a message is to be made new.

    None for one that names more than itself, is a batch, is answered by its type, or is not
    written as most are: that is to be rewritten.
    """
    try:
        message = _message_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    first = _FIRST_ID.match(text)
    if (
        first is None
        or first[1] != message.id
        or not isinstance(message.type, str)
        or message.type == "batch"
        or message.type in flat.ANSWERS
        or (message.payload is not None and message.payload != _NAMES_NOTHING)
        or (message.metadata is not None and message.metadata != _NAMES_NOTHING)
        or message.execution_id is not None
        or message.session_id is not None
        or message.reply_to is not None
        or message.task_id is not None
        or message.stream_id is not None
    ):
        return None
    start, end = first.span(1)
    written = bytes(message.timestamp).decode()
    stamp = stamp_end = len(text)
    form = _NO_TIME
    if written and written[0] not in '"[{n':
        at = text.rfind('"timestamp"')
        found = _TIMESTAMP.match(text, at)
        if found is None or text.find('"timestamp"') != at:
            return None
        stamp = found.end()
        if not text.startswith(written, stamp):
            return None
        known = _form_of(written)
        if known is None:
            return None
        stamp_end, form = stamp + len(written), known
    return Template(start, end, stamp, stamp_end, form)


def referred_in(text: str) -> set[str]:
    """The ids that a message, or one in a batch, refers to; its session's is not among them."""
    walk = Walk(text, _nothing_is_secret)
    return {
        _value(text, leaf)
        for leaf in walk
        if leaf.kind == "string"
        and (place := _within_message(walk.names())) in _REFERENCES
        and place[-1] != "session_id"
    }


def rename(text: str, ids: IdMap) -> str:
    """Return the message with what it refers to by the names of today, and nothing else new."""
    return _edited(text, _references(text, ids))


def _edited(text: str, edits: Iterable[Edit]) -> str:
    pieces = []
    at = 0
    for start, end, value in edits:
        pieces += [text[at:start], value]
        at = end
    return "".join([*pieces, text[at:]])


def _sought_edits(text: str, ids: IdMap, now_s: float) -> list[Edit] | None:
    """What `_edits` gives, sought in the text instead of met on a walk through it: ten times
    as quick. None where a value could be meant that stands elsewhere, which only a walk tells.
    """
    try:
        message = _message_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if message.type == "batch":
        return None
    edits: list[Edit] = []
    for prefix, name, value in _named(message, ids):
        place = _place(text, name, f'"{value}"')
        if place is None:
            return None
        now = ids.known(value) if prefix is None else ids.fresh(value, prefix)
        edits.append((place[0] + 1, place[1] - 1, _literal(now)))
    if written := bytes(message.timestamp).decode():
        place = _place(text, "timestamp", written)
        if place is None:
            return None
        if written[0] not in '"[{':
            edits.extend(_today(text, Leaf("scalar", *place, under_secret=False), now_s))
    return sorted(edits)


def _named(message: _Message, ids: IdMap) -> Iterator[tuple[Prefix | None, str, str]]:
    """The ids in it that have another value now: the prefix of those that are made up, the name
    and the recorded value."""
    if isinstance(message.id, str):
        yield "msg", "id", message.id
    inner = message.payload
    if inner is not None and message.type in _OURS and isinstance(inner.execution_id, str):
        yield "exec", "execution_id", inner.execution_id
        inner.execution_id = None
    places = (inner, _IN_PAYLOAD), (message.metadata, _IN_METADATA), (message, _ANYWHERE)
    for holder, names in places:
        for name in names:
            value = getattr(holder, name, None)
            if isinstance(value, str) and ids.known(value) != value:
                yield None, name, value


def _place(text: str, name: str, literal: str) -> tuple[int, int] | None:
    """Where the value of the only key of that name stands, quotes and all."""
    key = f'"{name}"'
    at = 1 if text.startswith(key, 1) else text.find(key)  # the first key is the message's own
    if at < 0 or (at > 1 and text.find(key, at + 1) >= 0):
        return None
    colon = _COLON.match(text, at + len(key))
    if colon is None or not text.startswith(literal, colon.end()):
        return None
    return colon.end(), colon.end() + len(literal)


def _references(text: str, ids: IdMap) -> Iterator[Edit]:
    walk = Walk(text, _nothing_is_secret)
    for leaf in walk:
        if leaf.kind == "string" and _within_message(walk.names()) in _REFERENCES:
            value = _value(text, leaf)
            if (renamed := ids.known(value)) != value:
                yield leaf.start, leaf.end, _literal(renamed)


def _value(text: str, leaf: Leaf) -> str:
    return unescape(text[leaf.start : leaf.end]).text


def _literal(value: str) -> str:
    """What stands between the quotes of a JSON string."""
    return msgspec.json.encode(value).decode()[1:-1]


def _edits(text: str, message_type: str, ids: IdMap, now_s: float) -> Iterator[Edit]:
    walk = Walk(text, _nothing_is_secret)
    for leaf in walk:
        if leaf.kind == "key":
            continue
        place = _within_message(walk.names())
        if leaf.kind == "string":
            value = _value(text, leaf)
            renamed = _rename(place, value, message_type, ids)
            if renamed != value:
                yield leaf.start, leaf.end, _literal(renamed)
        elif place == ("timestamp",):
            yield from _today(text, leaf, now_s)


def _within_message(names: Sequence[str | int]) -> tuple[str | int, ...]:
    """The place in the message itself, for one inside a batch as well."""
    if len(names) > 3 and tuple(names[:2]) == ("payload", "messages"):
        return tuple(names[3:])
    return tuple(names)


def _rename(place: tuple[str | int, ...], value: str, message_type: str, ids: IdMap) -> str:
    if place == ("id",):
        return ids.fresh(value, "msg")
    if place == ("payload", "execution_id") and message_type in _OURS:
        return ids.fresh(value, "exec")
    return ids.known(value) if place in _REFERENCES else value


def _today(text: str, leaf: Leaf, now_s: float) -> Iterator[Edit]:
    """Now, in the unit and with the precision that stood there."""
    written = text[leaf.start : leaf.end]
    if (value := _now_as(written, now_s)) != written:
        yield leaf.start, leaf.end, value


def _now_as(written: str, now_s: float) -> str:
    """Now, written as that time is; what is no time stays."""
    form = _form_of(written)
    return written if form is None else stamps(now_s)[form]


def _form_of(written: str) -> int | None:
    try:
        recorded = float(written)
    except ValueError:
        return None
    if recorded >= MILLISECONDS_FROM:
        return _MILLISECONDS
    return _FRACTION if "." in written else _SECONDS


def _nothing_is_secret(_key: str) -> bool:
    return False
