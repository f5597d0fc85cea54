"""Say whether an answer is the one that was recorded.

What differs from run to run by itself is not compared: ids, times, where a stream was cut
into chunks, how often progress was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from megabot_cli.protocol.messages import MESSAGE_TYPES
from megabot_cli.recording.answers import Answer, Part
from megabot_cli.recording.likeness import (
    DEEPEST,
    comparable,
    names_of,
    varies_by_itself,
    without,
)
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.secret_shapes import PSEUDONYM

_EXCERPT: Final = 160


class Verdict(StrEnum):
    """`same` word for word; `same_shape` in types, order, finish and JSON keys."""

    SAME = "same"
    SAME_SHAPE = "same_shape"
    DIFFERENT = "different"
    MISSING = "missing"
    EXTRA = "extra"


class Comparison(msgspec.Struct, frozen=True):
    """The verdict on one answer; where they part, what was recorded there and what came."""

    verdict: Verdict
    detail: str = ""
    recorded: str = ""
    replayed: str = ""


SAME: Final = Comparison(Verdict.SAME)


class Comparer:
    """Compares answers. Secrets that a recording does not tell are not compared."""

    def __init__(self, redactor: Redactor, ignored: Sequence[str] = ()) -> None:
        """`ignored` are paths into messages, `payload.options.seed`; `payload.chunk` is the text
        of a stream, put together. WrongUsage for none."""
        self._redactor = redactor
        self._ignored = in_payload(ignored)

    def compare(
        self, recorded: Answer, replayed: Answer, *, broken_off: bool = False
    ) -> Comparison | None:
        """Return the verdict, or None when there is nothing to compare.

        Of an answer that is `broken_off` what was recorded must come, and more may.
        """
        before, now = recorded.parts, replayed.parts
        one = len(before) == len(now) == 1 and before[0].type == now[0].type
        if one and _says_the_same(before[0], now[0]):
            return SAME
        before, now = _merged(before), _merged(now)
        if not before and not now:
            return None
        if not now:
            return Comparison(Verdict.MISSING, "nothing came", self._excerpt(before[0]))
        if not before:
            return Comparison(Verdict.EXTRA, "nothing was recorded", "", self._excerpt(now[0]))
        if broken_off and _is_mergeable(before[-1]):
            before = before[:-1]  # a state on its way, and a later one may stand for it now
        if broken_off or not before[-1].is_whole:
            now = now[: len(before)]  # the recording breaks off here, so we know no more
        return self._step_by_step(before, now)

    def _step_by_step(self, before: list[Part], now: list[Part]) -> Comparison:
        verdict = SAME
        for place in range(max(len(before), len(now))):
            old = before[place] if place < len(before) else None
            new = now[place] if place < len(now) else None
            if old is None or new is None or old.type != new.type:
                was, came = _named(old), _named(new)
                return self._parting(place, f"recorded {was}, now {came}", old, new)
            difference = self._in_part(old, new)
            if difference is Verdict.DIFFERENT:
                return self._parting(place, f"{_named(old)} has another form", old, new)
            if difference is Verdict.SAME_SHAPE and verdict.verdict is Verdict.SAME:
                verdict = msgspec.structs.replace(
                    self._parting(place, f"{_named(old)} says something else", old, new),
                    verdict=Verdict.SAME_SHAPE,
                )
        return verdict

    def _in_part(self, old: Part, new: Part) -> Verdict:
        if _says_the_same(old, new):
            return Verdict.SAME
        if old.stream is None or new.stream is None:
            if self._text(old) == self._text(new):
                return Verdict.SAME
            same = _structure(self._payload(old)) == _structure(self._payload(new))
            return Verdict.SAME_SHAPE if same else Verdict.DIFFERENT
        if not old.stream.finished:
            begins = self._text(new).startswith(self._text(old))
            return Verdict.SAME if begins else Verdict.SAME_SHAPE
        if not new.stream.finished:
            return Verdict.DIFFERENT
        said, now = self._text(old), self._text(new)
        lost = old.stream.missing > 0  # what a line that fell took with it nobody knows
        same = said == now or (lost and _stands_in(said, now))
        return Verdict.SAME if same else Verdict.SAME_SHAPE

    def _text(self, part: Part) -> str:
        """What a part says, in one form for both sides."""
        if part.stream is not None:
            said = "" if ["chunk"] in self._ignored else part.stream.text
        else:
            said = msgspec.json.encode(
                comparable(self._payload(part)), order="deterministic"
            ).decode()
        return PSEUDONYM.sub("‹redacted›", self._redactor.clean(said))

    def _payload(self, part: Part) -> Any:
        return without(part.payload, self._ignored) if self._ignored else part.payload

    def _parting(self, place: int, detail: str, old: Part | None, new: Part | None) -> Comparison:
        return Comparison(
            Verdict.DIFFERENT,
            f"step {place + 1}: {detail}",
            self._excerpt(old) if old is not None else "",
            self._excerpt(new) if new is not None else "",
        )

    def _excerpt(self, part: Part) -> str:
        said = self._text(part)
        return said if len(said) <= _EXCERPT else said[:_EXCERPT] + "…"


def in_payload(ignored: Sequence[str]) -> list[list[str]]:
    """The ignored paths as names from the payload on; others leave out nothing."""
    paths = [names_of(path) for path in ignored]
    return [names[1:] for names in paths if names[0] in ("payload", "*") and names[1:]]


def _stands_in(pieces: str, text: str) -> bool:
    """Whether a text that lacks some of its pieces may be this one."""
    rest = iter(text)
    return all(letter in rest for letter in pieces)


def _merged(parts: list[Part]) -> list[Part]:
    """Parts without those that a newer one of the same type, right behind, stands for."""
    if len(parts) < 2:
        return parts
    kept: list[Part] = []
    for part in parts:
        replaces = kept and kept[-1].type == part.type
        if replaces and _is_mergeable(kept[-1]) and _is_mergeable(part):
            kept[-1] = part
        else:
            kept.append(part)
    return kept


def _is_mergeable(part: Part) -> bool:
    """Whether a newer one of its type stands for it."""
    kind = MESSAGE_TYPES.get(part.type or "")
    return kind is not None and kind.mergeable and part.stream is None


def _says_the_same(old: Part, new: Part) -> bool:
    """Whether two parts are the same to the letter, so that nothing of them need be left out."""
    if old is new:  # what came as it was recorded is kept once
        return True
    if old.stream is not None or new.stream is not None:
        return False
    letters = old.letters()
    if letters is not None and letters == new.letters():
        return True
    try:
        return msgspec.json.encode(old.payload) == msgspec.json.encode(new.payload)
    except (UnicodeError, RecursionError, OverflowError):
        return False


def _named(part: Part | None) -> str:
    if part is None:
        return "nothing more"
    name = part.type or "a message without type"
    return name if part.is_whole else f"{name} (unfinished)"


def _structure(value: Any, depth: int = 0) -> Any:
    """The keys and kinds of a value; a list is the kinds of things in it."""
    if depth > DEEPEST:
        return None
    if isinstance(value, dict):
        return {
            key: None if varies_by_itself(key) else _structure(inner, depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        kinds = [_structure(inner, depth + 1) for inner in value]
        return [kind for place, kind in enumerate(kinds) if kind not in kinds[:place]]
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "text"
