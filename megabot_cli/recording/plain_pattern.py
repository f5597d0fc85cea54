"""Regular expressions that need none: texts in their order, `.*` and `.+` between, `^` and `$`,
and one text or another.

Most people write `matches('^timed out .* retry$')` and mean just that. The condition language's
engine compiles the expression anew for each record; sought by hand the same takes a tenth. What
holds anything else is not plain, and nothing here guesses; but most of it holds texts without
which it cannot match, and what lacks one need not be asked about.
"""

from __future__ import annotations

import re

import msgspec

_PLAIN = re.compile(r"\^?(?:[^\\.^$*+?()\[\]{}|]|\.[*+](?![*+?{]))+\$?")
_PART = re.compile(
    r"(?P<char>[^\\.^$*+?()\[\]{}|])|(?P<group>\((?!\?)[^()\[\]\\]*\)|\(\?:[^()\[\]\\]*\))"
    r"|(?P<set>\[\^?[^\[\]\\&~^]+\])|(?P<escape>\\[^A-Za-z0-9]|\\[dDwWsSbB])|[.^$]"
)
_REPEATED = re.compile(r"(?:[*?]|\{[^}]*\}|(?P<once>\+))[?+]?")
_GROUP = re.compile(r"\((?:\?:)?([^\\.^$*+?()\[\]{}]*)\)(?![*+?{])")
_MOST_WAYS = 32
_GAP = re.compile(r"\.([*+])")


class PlainPattern(msgspec.Struct, frozen=True):
    """`pieces` stand in this order; before each but the first at least so many characters
    (`gaps`), none of them the end of a line."""

    pieces: tuple[str, ...]
    gaps: tuple[int, ...]
    at_start: bool
    at_end: bool


def plain_patterns(source: str) -> tuple[PlainPattern, ...] | None:
    """Patterns of which one is found where the expression matches, and nowhere else; None where
    it takes a regular expression's engine to tell."""
    sources = [source]
    while any(map(_GROUP.search, sources)):
        sources = [each for one in sources for each in _without_a_group(one)]
        if len(sources) > _MOST_WAYS:
            return None
    ways = dict.fromkeys(way for one in sources for way in one.split("|"))
    patterns = [plain_pattern(way) for way in ways]
    found = tuple(pattern for pattern in patterns if pattern is not None)
    return found if len(found) == len(patterns) <= _MOST_WAYS else None


def _without_a_group(source: str) -> list[str]:
    """The ways to read its first group, if it has one."""
    group = _GROUP.search(source)
    if group is None:
        return [source]
    before, after = source[: group.start()], source[group.end() :]
    return [before + way + after for way in group[1].split("|")]


def plain_pattern(source: str) -> PlainPattern | None:
    """None for what is more than texts and gaps."""
    if _PLAIN.fullmatch(source) is None:
        return None
    at_start, at_end = source.startswith("^"), source.endswith("$")
    pieces = _GAP.split(source.removeprefix("^").removesuffix("$"))
    gaps = tuple(int(sign == "+") for sign in pieces[1::2])
    return PlainPattern(tuple(pieces[::2]), gaps, at_start, at_end)


def is_any_found(patterns: tuple[PlainPattern, ...], text: str) -> bool | None:
    """As `is_found`, of any of them."""
    answers = [is_found(pattern, text) for pattern in patterns]
    return True if True in answers else None if None in answers else False


def is_found(pattern: PlainPattern, text: str) -> bool | None:
    """Whether it is found anywhere in `text`; None: not sure, for a line ends there."""
    if pattern.gaps and "\n" in text:
        return None
    pieces = pattern.pieces
    first, last = pieces[0], pieces[-1]
    if pattern.at_end and not text.endswith(last):
        return False
    if pattern.at_start:
        if not text.startswith(first):
            return False
        at = 0
    else:
        # The first place leaves the most room for the rest; what ends the text has but one.
        alone_at_end = pattern.at_end and len(pieces) == 1
        at = len(text) - len(first) if alone_at_end else text.find(first)
        if at < 0:
            return False
    at += len(first)
    if len(pieces) == 1:
        return not pattern.at_end or at == len(text)
    for piece, gap in zip(pieces[1:-1], pattern.gaps, strict=False):
        at = text.find(piece, at + gap)
        if at < 0:
            return False
        at += len(piece)
    least = at + pattern.gaps[-1]
    if pattern.at_end:
        return len(text) - len(last) >= least
    return text.find(last, least) >= 0


def needed_texts(source: str) -> list[str]:
    """Texts that stand wherever a regular expression matches; none where that is not certain."""
    texts, run, at = [], "", 0
    while at < len(source):
        part = _PART.match(source, at)
        if part is None:
            return []
        at = part.end()
        repeated = _REPEATED.match(source, at)
        char = part["char"] or ""
        if repeated is None and char:
            run += char
            continue
        if repeated is not None:
            at = repeated.end()
            run += char if repeated["once"] else ""
        if run:
            texts.append(run)
        run = ""
    return [*texts, run] if run else texts
