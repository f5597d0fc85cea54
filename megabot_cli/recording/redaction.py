"""Take secrets out of what is kept. The one place that does, for recordings, taps and logs.

A secret becomes `‹redacted:9f2c01ab›`: a pseudonym under a key that is never stored, so that
equal secrets stay equal inside one recording and nothing can be recovered. Eight digits, not
four: with four, 300 different secrets are as likely as not to share a pseudonym.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from megabot_cli.recording.json_walk import Leaf, Walk, path_of, unescape
from megabot_cli.recording.known_secrets import KnownSecrets, begun_at_end, places_of
from megabot_cli.recording.record import Record
from megabot_cli.recording.regular import compiled_setting
from megabot_cli.recording.secret_shapes import (
    SCHEME,
    SecretNames,
    find_shapes,
    has_trace,
    is_already_redacted,
    plain_name,
)

POLICY: Final = "default-1"

_MOST_PATHS = 100  # of one record; a batch of a thousand secrets is not worth a thousand paths
_DEEPEST = 5  # of JSON text inside JSON strings; beyond it only shapes are sought
_INFLATED_BYTES = 4 * 1024 * 1024  # of a gzip payload that are looked at
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_any_json = msgspec.json.Decoder(msgspec.Raw)


class _Span(msgspec.Struct):
    """A secret in a text, from `start` to `end`, what stands for it, and where it was found."""

    start: int
    end: int
    stands_for: str
    path: str


class Redactor:
    """Finds secrets and puts pseudonyms in their place.

    `key` makes the pseudonyms: 32 random bytes, one key per recording. `keys` are more names
    (or paths, `$.payload.person.ssn`) whose values are secret, `patterns` more regular
    expressions; where one has a group `secret`, only that goes. `known` are secrets that go
    wherever they stand, also those that it learns of later.
    """

    policy = POLICY

    def __init__(
        self,
        key: bytes,
        keys: Sequence[str] = (),
        patterns: Sequence[str] = (),
        known: KnownSecrets | None = None,
    ) -> None:
        self._key = key[:64]  # what blake2b takes
        self.known = known if known is not None else KnownSecrets()
        self._cached_for = self.known.now
        self._names = SecretNames.with_more(keys)
        self._patterns = tuple(map(compiled_setting, patterns))
        self._named_patterns = tuple(self._names.patterns())
        self._more_traces = self._names.traces()
        # Sessions, users and clients come again and again.
        self._clean_short_text = lru_cache(maxsize=4096)(self.clean)

    def may_hold_secret(self, text: str) -> bool:
        """Whether it is worth looking closer; False is certain. About 1 µs for 250 characters."""
        if has_trace(text):
            return True
        for trace in self.known.now.traces:
            if trace in text:
                return True
        if self._more_traces:
            plain = plain_name(text)
            if any(trace in plain for trace in self._more_traces):
                return True
        if self._patterns:
            return "\\" in text or any(pattern.search(text) for pattern in self._patterns)
        return False

    def redact_text(self, text: str) -> tuple[str, list[str]]:
        """Return the text without its secrets, and the JSON paths of what was replaced.

        All else in the text stays as it is, character for character.
        """
        if not self.may_hold_secret(text):
            return text, []
        spans = _disjoint(list(self._find(text, "$", 0)))
        if not spans:
            return text, []
        paths = list(dict.fromkeys(span.path for span in spans))
        if len(paths) > _MOST_PATHS:
            paths[_MOST_PATHS:] = ["…"]
        return _replace(text, spans), paths

    def places(self, text: str) -> list[tuple[int, int, str]]:
        """Where in a text secrets stand, in order and apart, and what stands for each."""
        if not self.may_hold_secret(text):
            return []
        spans = _disjoint(list(self._find(text, "$", 0)))
        return [(span.start, span.end, span.stands_for) for span in spans]

    def begun(self, text: str) -> tuple[int, int, str] | None:
        """As a place of `places`, where a text ends with the beginning of a known secret."""
        begun = begun_at_end(self.known.now, text)
        return None if begun is None else (begun[0], len(text), self._pseudonym(begun[1]))

    def clean(self, text: str) -> str:
        """The text without its secrets."""
        return self.redact_text(text)[0]

    def redact_query(self, url: str) -> str:
        """A URL without the secrets in its user part and elsewhere, nor any value in its query:
        a signed address calls its secret whatever it likes."""
        before, mark, rest = url.partition("?")
        if not mark:
            return self.clean(url)
        query, hash_mark, fragment = rest.partition("#")
        shown = "&".join(self._without_value(part) for part in query.split("&"))
        return f"{self.clean(before)}?{shown}{hash_mark}{self.clean(fragment)}"

    def _without_value(self, part: str) -> str:
        name, equals, value = part.partition("=")
        if not equals:
            name, value = "", part
        if value and not is_already_redacted(value):
            value = self._pseudonym(value)
        return f"{self.clean(name)}{equals}{value}"

    def redact_binary(self, payload: bytes) -> str | None:
        """The pseudonym that must stand for a binary payload, or None when it may be kept.

        Text inside gzip is looked at as well: an upstream may compress its messages so.
        """
        for content in (payload, _inflated(payload)):
            if content is not None and self.redact_text(content.decode("latin-1"))[1]:
                return self._pseudonym(payload.decode("latin-1"))
        return None

    def redact_record(self, record: Record) -> Record:
        """The record with every secret in its payload and its other texts replaced.

        Changes `record` itself and returns it.
        """
        # Where the payload is free of traces, so is what was copied out of its envelope.
        closely = record.data is None
        if record.data is not None and self.may_hold_secret(record.data):
            closely = True
            record.data, paths = self.redact_text(record.data)
            if paths:
                record.redacted = list(dict.fromkeys([*(record.redacted or ()), *paths]))
        elif record.data_b64 is not None:
            self._redact_base64(record)
        if closely:
            for name in ("id", "type", "reply_to", "reason", "note", "by"):
                text = getattr(record, name)
                if text is not None:
                    setattr(record, name, self.clean(text))
        if self._cached_for is not self.known.now:
            self._cached_for = self.known.now
            self._clean_short_text.cache_clear()
        # One by one, for this is on the way of every record.
        clean = self._clean_short_text
        if record.session is not None:
            record.session = clean(record.session)
        if record.user is not None:
            record.user = clean(record.user)
        if record.client is not None:
            record.client = clean(record.client)
        if record.link is not None:
            record.link = clean(record.link)
        return record

    def _redact_base64(self, record: Record) -> None:
        payload = base64.b64decode(record.data_b64 or "")
        stands_for = self.redact_binary(payload)
        if stands_for is not None:
            record.data_b64, record.data = None, stands_for
            record.redacted = ["$"]

    def _pseudonym(self, secret: str) -> str:
        digest = hashlib.blake2b(
            secret.encode("utf-8", "surrogatepass"), digest_size=4, key=self._key
        )
        return f"‹redacted:{digest.hexdigest()}›"

    def _find(self, text: str, path: str, depth: int) -> Iterator[_Span]:
        """Every secret in a text; some may overlap."""
        is_json = _is_json(text)
        if depth <= _DEEPEST and (is_json or '"' in text):
            yield from self._find_in_json(text, path, depth)
        if not is_json:
            yield from self._find_shapes(text, path, in_json=False)

    def _find_in_json(self, text: str, path: str, depth: int) -> Iterator[_Span]:
        walk = Walk(text, self._names.hold_text)
        for leaf in walk:
            if leaf.kind == "scalar":
                yield from self._scalar(text, leaf, walk, path)
            elif leaf.end > leaf.start:
                yield from self._string(text, leaf, walk, path, depth)

    def _scalar(self, text: str, leaf: Leaf, walk: Walk, path: str) -> Iterator[_Span]:
        value = text[leaf.start : leaf.end]
        known = self.known.now.values
        is_number = value[0] in "-0123456789"
        if not is_number or not (leaf.under_secret or self._names.paths or known):
            return
        names = walk.names()
        by_name = leaf.under_secret and any(
            isinstance(name, str) and self._names.hold_numbers(name)
            for name in (*names, *walk.said())
        )
        if by_name or value in known or self._is_secret_path(walk):
            stands_for = f'"{self._pseudonym(value)}"'
            yield _Span(leaf.start, leaf.end, stands_for, self._path(path, names))

    def _string(self, text: str, leaf: Leaf, walk: Walk, path: str, depth: int) -> Iterator[_Span]:
        # Where a key stands, the walk still names the value before it.
        whole = leaf.under_secret or (leaf.kind != "key" and self._is_secret_path(walk))
        literal = text[leaf.start : leaf.end]
        if not whole and not self.may_hold_secret(literal):
            return
        inside = unescape(literal)
        if whole:
            spans = self._whole(inside.text)
        elif leaf.kind == "key":
            spans = self._find_shapes(inside.text, "", in_json=True)
        else:
            spans = self._find(inside.text, "", depth + 1)
        here = ""
        for span in spans:
            names = walk.names()
            here = here or self._path(path, names[:-1] if leaf.kind == "key" else names)
            yield _Span(
                leaf.start + inside.place(span.start),
                leaf.start + inside.place(span.end),
                span.stands_for.replace("\\", "\\\\").replace('"', '\\"'),
                here,
            )

    def _whole(self, text: str) -> Iterator[_Span]:
        """A string under a secret name: all of it, but for the word that says its scheme."""
        scheme = SCHEME.match(text)
        start = scheme.end() if scheme is not None else 0
        secret = text[start:]
        if secret.strip() and not is_already_redacted(secret):
            yield _Span(start, len(text), self._pseudonym(secret), "")

    def _find_shapes(self, text: str, path: str, *, in_json: bool) -> Iterator[_Span]:
        for start, end, secret in places_of(self.known.now, text):
            yield _Span(start, end, self._pseudonym(secret), path)
        places = [*find_shapes(text, in_json=in_json), *_matches(text, self._patterns)]
        if not in_json:
            places += _matches(text, self._named_patterns)
        for start, end in places:
            secret = text[start:end]
            if secret and not is_already_redacted(secret):
                yield _Span(start, end, self._pseudonym(secret), path)

    def _is_secret_path(self, walk: Walk) -> bool:
        """Whether the operator named the path of the leaf that `walk` has just given."""
        if not self._names.paths:
            return False
        names = walk.names()
        # `path_of` quotes a star, for it is no plain name.
        any_index = path_of(["*" if isinstance(name, int) else name for name in names])
        return not self._names.paths.isdisjoint((path_of(names), any_index.replace('"*"', "*")))

    def _path(self, outer: str, names: Sequence[str | int]) -> str:
        """The path of a value; a name in it may be a secret as well."""
        clean = [self.clean(name) if isinstance(name, str) else name for name in names]
        return path_of(clean) if outer in ("", "$") else outer


def _matches(text: str, patterns: Sequence[re.Pattern[str]]) -> Iterator[tuple[int, int]]:
    for pattern in patterns:
        group = "secret" if "secret" in pattern.groupindex else 0
        for match in pattern.finditer(text):
            yield match.span(group)


def _is_json(text: str) -> bool:
    """Whether the text as a whole is a JSON object, array or string."""
    if text.lstrip(" \t\r\n")[:1] not in ("{", "[", '"'):
        return False
    # Half a surrogate pair is JSON, but not to the decoder.
    whole = _HALF_PAIR.sub(r"\\u0020", text).encode("utf-8", "replace")
    try:
        _any_json.decode(whole)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _inflated(payload: bytes) -> bytes | None:
    if not payload.startswith(b"\x1f\x8b"):
        return None
    try:
        return zlib.decompressobj(wbits=31).decompress(payload, _INFLATED_BYTES)
    except zlib.error:
        return None


def _disjoint(spans: list[_Span]) -> list[_Span]:
    """Spans in order, those that overlap made one."""
    spans.sort(key=lambda span: (span.start, -span.end))
    apart: list[_Span] = []
    for span in spans:
        if apart and span.start < apart[-1].end:
            apart[-1].end = max(apart[-1].end, span.end)
        else:
            apart.append(span)
    return apart


def _replace(text: str, spans: Sequence[_Span]) -> str:
    pieces: list[str] = []
    at = 0
    for span in spans:
        pieces += (text[at : span.start], span.stands_for)
        at = span.end
    return "".join((*pieces, text[at:]))
