"""When two messages say the same: what they are compared by, and what is left out."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Sequence, Set
from typing import Any, Final, Literal

import msgspec

from megabot_cli.errors import WrongUsage
from megabot_cli.protocol.envelope import UNREADABLE
from megabot_cli.recording.json_walk import Walk, path_of, unescape
from megabot_cli.recording.secret_shapes import PSEUDONYM

Match = Literal["exact", "payload", "text", "type"]

DEEPEST: Final = 50
_OUTER: Final = ("id", "type", "timestamp", "metadata")
_STEP: Final = re.compile(
    r"\.?(?P<plain>[^.\[\]]+)|\[(?P<at>[^\[\]\"]+)\]|\[(?P<quoted>\"(?:[^\"\\]|\\.)*\")\]"
)
_PLAIN: Final = re.compile(r"[^\s.\[\]\"'#*]+")
NOTHING_WILD: Final[frozenset[str]] = frozenset()

Surroundings = dict[str, tuple[str, ...]]
"""By its path, what stands around the redacted parts of a text, in order: `("Bearer ", "")`."""


def varies_by_itself(key: str) -> bool:
    """Whether a key's value is an id or a time, new in every run."""
    return key in ("id", "timestamp", "time", "date") or key.endswith(("_id", "_at"))


def comparable(value: Any, depth: int = 0) -> Any:
    """The value without what varies by itself."""
    if depth > DEEPEST:
        return None
    if isinstance(value, dict):
        return {
            key: None if varies_by_itself(key) else comparable(inner, depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [comparable(inner, depth + 1) for inner in value]
    return value


class Likeness:
    """How like a recorded request another one must be to be taken for it.

    `exact`: the same type and payload; `payload`: but for ids and times in it; `text`: but
    for all except its words, however they are spaced and written in capitals; `type`: the
    same type. `ignored` are paths that do not count, such as `payload.options.seed`: `*`
    is any key or index. WrongUsage for a path that is none.
    """

    def __init__(self, match: Match = "payload", ignored: tuple[str, ...] = ()) -> None:
        self._match = match
        self._ignored = [names_of(path) for path in ignored]

    def key(self, text: str | bytes, wild: Set[str] = NOTHING_WILD) -> bytes:
        """Two messages that are alike have the same key.

        `wild` are JSON paths (as `Record.redacted` has them) whose values do not count.
        Bytes are a binary message.
        """
        if isinstance(text, bytes):
            said: Any = ("binary", None if self._match == "type" else text)
        else:
            said = self._said(_without(text, wild) if wild else text)
        try:
            form = msgspec.json.encode(said, order="deterministic")
        except (UnicodeError, RecursionError, OverflowError):
            form = repr(text).encode("ascii", "backslashreplace")  # alike to itself alone
        return hashlib.blake2b(form, digest_size=16).digest()

    def surroundings(self, text: str | bytes, wild: Set[str]) -> Surroundings:
        """What of the values at `wild` was not redacted: that counts all the same."""
        if isinstance(text, bytes) or not wild or self._match == "type":
            return {}
        found = ((path, PSEUDONYM.split(value)) for path, value in _at(text, wild))
        return {
            path: tuple(map(self._plain, pieces))
            for path, pieces in found
            if len(pieces) > 1 and any(pieces)
        }

    def stands_in(self, surroundings: Surroundings, text: str | bytes) -> bool:
        """Whether a message whose key is the same has these around what it says there."""
        if not surroundings:
            return True
        if isinstance(text, bytes):
            return False
        said = dict(_at(text, surroundings.keys()))
        return all(
            path in said and _in_their_order(pieces, self._plain(said[path]))
            for path, pieces in surroundings.items()
        )

    def _plain(self, text: str) -> str:
        return " ".join(text.casefold().split()) if self._match == "text" else text

    def _said(self, text: str) -> Any:
        try:
            message = msgspec.json.decode(text)
        except UNREADABLE:
            message = text.encode("utf-8", "replace").decode()
        if not isinstance(message, dict):
            return ("text", None if self._match == "type" else self._counted(message))
        for names in self._ignored:
            _remove(message, names)
        message_type = message.get("type")
        if self._match == "type":
            return (message_type,)
        if "payload" in message:
            body = message["payload"]
        else:  # another dialect: its fields stand beside the type
            body = {name: value for name, value in message.items() if name not in _OUTER}
        return (message_type, self._counted(body))

    def _counted(self, body: Any) -> Any:
        if self._match == "exact":
            return body
        body = comparable(body)
        if self._match == "payload":
            return body
        if isinstance(body, dict) and isinstance(body.get("content"), str):
            body = body["content"]
        return " ".join(" ".join(_strings(body)).casefold().split())


def _strings(value: Any) -> Iterator[str]:
    """All texts in a value, those of an object in the order of its keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from _strings(value[key])
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def names_of(path: str) -> list[str]:
    """The names that lead to a path's place: `a.b[0].c["odd.key"]`; `*` is any. WrongUsage when
    it is none."""
    rest = path.removeprefix("$")
    names = []
    at = 0
    try:
        while at < len(rest) and (step := _STEP.match(rest, at)) is not None:
            quoted = step["quoted"]
            names.append(json.loads(quoted) if quoted else step["plain"] or step["at"])
            at = step.end()
    except ValueError:  # an escape that JSON has not
        names = []
    if at < len(rest) or not names:
        raise WrongUsage(f"{path!r} is no path", "Write one such as payload.options.seed.")
    return names


def step_to(name: str) -> str:
    """How a path goes on to what an object has under this name."""
    if _PLAIN.fullmatch(name):
        return f".{name}"
    return f"[{json.dumps(name)}]"


def without(value: Any, paths: Sequence[list[str]]) -> Any:
    """A copy of the value without what stands at any of the paths."""
    copied = copy.deepcopy(value)
    for names in paths:
        _remove(copied, names)
    return copied


def _remove(value: Any, names: list[str]) -> None:
    """Take out what stands at a path, if anything does."""
    name, deeper = names[0], names[1:]
    if isinstance(value, dict):
        for key in list(value) if name == "*" else [name]:
            if not deeper:
                value.pop(key, None)
            elif key in value:
                _remove(value[key], deeper)
    elif isinstance(value, list):
        for place in range(len(value)):
            if name in ("*", str(place)):
                if deeper:
                    _remove(value[place], deeper)
                else:
                    value[place] = None


def _at(text: str, paths: Set[str]) -> Iterator[tuple[str, str]]:
    """The strings at the given paths, each with its path."""
    walk = Walk(text, _nothing_is_secret)
    for leaf in walk:
        if leaf.kind == "string" and (path := path_of(walk.names())) in paths:
            yield path, unescape(text[leaf.start : leaf.end]).text


def _in_their_order(pieces: Sequence[str], text: str) -> bool:
    """Whether the text begins with the first, ends with the last, and has the rest between."""
    first, *between, last = pieces
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in between:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return text.endswith(last)


def _without(text: str, wild: Set[str]) -> str:
    """The text with nothing at the given paths."""
    walk = Walk(text, _nothing_is_secret)
    pieces = []
    at = 0
    for leaf in walk:
        if leaf.kind != "key" and path_of(walk.names()) in wild:
            pieces += [text[at : leaf.start], "" if leaf.kind == "string" else '""']
            at = leaf.end
    return "".join([*pieces, text[at:]])


def _nothing_is_secret(_key: str) -> bool:
    return False
