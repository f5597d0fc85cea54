"""What a secret looks like: the names it goes by and the shapes it has. Policy `default-1`.

Every search starts from a plain word that stands in the text, and looks around it: that is
several times quicker than a pattern tried at each character, and a hostile text costs no more
than a long one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

# A key whose name, without separators, case and a number behind it, ends in one of these holds a
# secret: `token`, `access_token`, `X-API-Key`, `password2`; not `max_tokens`, `tokenizer`.
SECRET_ENDINGS: Final = (
    "password",
    "passwd",
    "passwords",
    "passwordconfirm",
    "passwordconfirmation",
    "passphrase",
    "pwd",
    "token",
    "accesstokens",
    "refreshtokens",
    "apitokens",
    "authtokens",
    "secret",
    "secrets",
    "apikey",
    "apikeys",
    "privatekey",
    "accesskey",
    "signingkey",
    "secretkey",
    "authorization",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "jwt",
)

# `total_tokens` and the like count something, be it in letters.
_SECRET_WHOLE: Final = ("tokens",)

# Under these a number is a secret too; under `token` it counts something.
SECRET_NUMBERS: Final = tuple(name for name in SECRET_ENDINGS if name.startswith(("pass", "pwd")))

_KEYS = re.compile(r"(?:api|private|access|signing)[_ -]?key")
_BEFORE_KEY = re.compile(r"(?:api|private|access|signing|secret)[_-]?\Z")
_LONGEST_BEFORE_KEY = len("signing_")

# Keys that services give out, by how they begin. What stands before one is no letter of it:
# `task-` and `desk-` begin none.
_SERVICE_KEYS: Final = {
    start: re.compile(rf"(?<![A-Za-z0-9_]){shape}", re.ASCII)
    for start, shape in {
        "sk-": r"sk-(?=[\w-]{0,64}?[A-Za-z0-9]{16})[\w-]+",
        "ghp_": r"ghp_(?=[a-z0-9]*[A-Z])[A-Za-z0-9]{20,}",
        "github_pat_": r"github_pat_(?=[a-z0-9_]*[A-Z])\w{20,}",
        "xox": r"xox[a-z]-[A-Za-z0-9-]{10,}",
        "akia": r"AKIA[A-Z0-9]{16}(?!\w)",
        "aiza": r"AIza[\w-]{30,}",
    }.items()
}

# A pseudonym stands where a secret stood; it is none itself.
PSEUDONYM: Final = re.compile(r"‹redacted:[0-9a-f]{4,64}›")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
SCHEME: Final = re.compile(r"\s*(?:bearer|basic|digest|token|apikey)\s+(?=\S)", re.IGNORECASE)

# RFC 7519: base64url of `{"…` or of `{ "…`, then one to four more parts.
_JWT = re.compile(r"ey[JA][A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){0,3}")
_JWT_RUN = re.compile(r"[A-Za-z0-9_-]*")
# RFC 6750. Talk about bearer tokens is no bearer token.
_AFTER_BEARER = re.compile(
    r"(?:\s|%20|\+)+(?!(?:tokens?|auth[a-z]*|schemes?|credentials?|headers?|of|and|or|in|is|are|"
    r"with|for|to|the|from|as|by|not|was|has|must|should|can|may|will|e\.g|i\.e)\b)"
    r"(?P<secret>[a-z0-9._~+/-]{3,}=*)"
)
_PROSE = re.compile(r"(?:[a-z]{1,15}[/-])*[a-z]{1,15}[.,]*\Z")  # words; no key of any service
_USER_PART = re.compile(r"://[^\s/:@\"'\\‹]*:(?P<secret>[^\s/@\"'\\]+)@")

# Quotes as they are printed stand about a secret, as plain ones do.
_QUOTES = "“”„‟‘’‚«»…"
_BARE = rf"[{_QUOTES}]?(?P<secret>[^\s\"'\\&;<>#{_QUOTES}]+)"
_AFTER_NAME = re.compile(rf"={_BARE}")  # query, form, setting
# Of what stands behind `token: ` and `secret = ` only what is no word: prose and code have those.
_AFTER_NAME_SPACED = re.compile(
    r"(?:[ \t]*:[ \t]*|[ \t]+=[ \t]*|=[ \t]+)"
    r"(?:(?:bearer|basic|digest)[ \t]+)?"
    r"(?P<secret>(?=[a-z_.~+/=-]*\d)(?=[\d_.~+/=-]*[a-z])[a-z0-9_.~+/=-]{6,}+)(?![\w(\[])"
)
_OPTION = re.compile(
    r"(?:[a-z0-9]{1,20}-){0,4}?"
    r"(?:password|passwd|passphrase|pwd|token|secret|credential|jwt"
    r"|(?:api|private|access|signing|secret)-?key)"
    rf"[ \t]+(?!(?:password|token|secret|key|string|str|text|file|value|-))[\"']?{_BARE}"
)
_AFTER_HEADER_NAME = re.compile(
    rf"(?:=|[ \t]*:[ \t]*(?:(?:bearer|basic|digest|token|apikey)[ \t]+)?){_BARE}"
)
# In an address within an address (`%3D`), or JSON there (`%22:%22`), encoded once or more.
_AFTER_NAME_ENCODED = re.compile(
    r"(?:%(?:25){0,4}22)?%(?:25){0,4}3(?:d|a(?=(?:%(?:25){0,4}20|\+)?%(?:25){0,4}22))"
    r"(?:%(?:25){0,4}20|\+)?(?:%(?:25){0,4}22)?"
    rf"(?P<secret>(?:(?!%(?:25){{0,4}}2[26])[^\s\"'\\&;<>#{_QUOTES}])++)"
)
_AFTER_COOKIE = re.compile(rf"s?[ \t]*[:=][ \t]*(?P<secret>[^\r\n\"'\\<>{_QUOTES}]+)")
# Pairs in text that is not JSON as a whole: Python's repr, torn JSON, JSON in JSON in JSON.
# In JSON the quote after `token=` may belong to the next string, so these are not for it.
_AFTER_NAME_QUOTED = re.compile(
    r"s?(?:\\{0,16}[\"'])?\s?[:=]\s?(?P<open>\\{0,16}[\"'])(?P<secret>(?:(?!(?P=open)).)+)",
    re.DOTALL,
)

# A pair in Python's repr of a list of them: `[('x-api-key', b'…'), …]`.
_NAMES_IN_PAIR = "|".join(
    sorted((re.escape(name) for name in SECRET_ENDINGS), key=len, reverse=True)
).replace("key", "[_-]?key")
_PAIR = re.compile(
    rf"[(\[]\s?b?(?P<open>\\{{0,16}}[\"'])[\w -]{{0,60}}?(?:{_NAMES_IN_PAIR})\d{{0,4}}(?P=open)"
    r"\s?,\s?b?(?P<shut>\\{0,16}[\"'])(?P<secret>(?:(?!(?P=shut)).)+)(?P=shut)\s?[)\]]",
    re.DOTALL,
)

_AFTER: Final = {
    "password": _AFTER_HEADER_NAME,
    "passwd": _AFTER_HEADER_NAME,
    "passphrase": _AFTER_HEADER_NAME,
    "pwd": _AFTER_NAME,
    "authorization": _AFTER_HEADER_NAME,
    "key": _AFTER_HEADER_NAME,
    "cookie": _AFTER_COOKIE,
    "token": _AFTER_NAME,
    "secret": _AFTER_NAME,
    "credential": _AFTER_NAME,
    "jwt": _AFTER_NAME,
}
# `<password>…</password>`, as settings have it; of what prose has in tags only what has a digit.
_IN_TAG: Final = {
    name: re.compile(rf">(?=\s*+[^<>\s]){digit}(?P<secret>[^<>]++)</[\w:.-]{{0,60}}?{name}>")
    for name, digit in {
        **dict.fromkeys(("password", "passwd", "passphrase", "pwd", "key"), ""),
        **dict.fromkeys(("token", "secret"), r"(?=[^<>\d]*+\d)"),
    }.items()
}
_SPACED: Final = ("token", "secret", "credential", "jwt", "pwd")
_DIGITS: Final = "0123456789"
_PUNCTUATION = ".,:)]}"  # what ends a sentence or a bracket around a secret

Place = tuple[int, int]


def lowered(text: str) -> str:
    """The text in lower case, each character at its place."""
    low = text.lower()
    # U+0130 is the one character whose lower case is longer.
    return low if len(low) == len(text) else text.replace("\u0130", "i").lower()


def has_trace(text: str) -> bool:
    """Whether a text may hold a secret of a common kind. False is certain."""
    low = text.lower()
    # Written out, for every record comes by here. One character is found five times as fast as
    # several, so a hint with one that most texts do not have is sought behind it. `\u00` writes
    # an ASCII letter another way.
    return (
        ("z" in low and ("authoriz" in low or "aiza" in low))
        or ("j" in low and "jwt" in low)
        or ("/" in low and "://" in low)
        or ("\\" in low and "\\u00" in low)
        or ("-" in low and ("sk-" in low or "xox" in low))
        or ("ok" in low and ("token" in low or "cookie" in low))
        or (
            "ey" in low
            and ("eyj" in low or "eya" in low or ("key" in low and _KEYS.search(low) is not None))
        )
        or ("cre" in low and ("secret" in low or "credent" in low))
        or ("pass" in low and ("passw" in low or "passp" in low))
        or "pwd" in low
        or "bearer" in low
        or ("K" in text and "AKIA" in text)
        # Of so many random letters some are capitals.
        or (low != text and ("github_pat_" in low or "ghp_" in low))
    )


def find_shapes(text: str, *, in_json: bool) -> Iterator[Place]:
    """Give the places of what is shaped like a secret; some may overlap.

    `in_json` says that the text is JSON as a whole, so that a match must not cross a quote.
    """
    low = lowered(text)
    yield from _jwts(text, low)
    for start, key in _SERVICE_KEYS.items():
        if start in low:
            yield from _service_keys(text, low, start, key)
    yield from _bearers(text, low)
    yield from _all(low, "://", _USER_PART, 0)
    for name, after in _AFTER.items():
        if name in low:
            yield from _named(low, name, after)
            if name in _SPACED:
                yield from _named(low, name, _AFTER_NAME_SPACED)
            if "%" in low and ("%3" in low or "%25" in low):
                yield from _named(low, name, _AFTER_NAME_ENCODED)
            if not in_json:
                yield from _named(low, name, _AFTER_NAME_QUOTED)
                if name in _IN_TAG and "</" in low:
                    yield from _named(low, name, _IN_TAG[name])
    if not in_json:
        yield from _trimmed(low, _all(low, "--", _OPTION, len("--")))
        for pair in _PAIR.finditer(low):
            yield pair.span("secret")


def _bearers(text: str, low: str) -> Iterator[Place]:
    """A scheme is written with a capital, or alone; else only what is no word is a token."""
    for start, end in _all(low, "bearer", _AFTER_BEARER, len("bearer")):
        before = low.rfind("bearer", 0, start)
        is_scheme = text[before] == "B" or not (text[:before].strip() or text[end:].strip())
        secret = text[start:end]
        if is_scheme or secret != low[start:end] or _PROSE.match(secret) is None:
            yield start, end


def _jwts(text: str, low: str) -> Iterator[Place]:
    for start in ("eyj", "eya"):
        at = low.find(start)
        while at >= 0:
            match = _JWT.match(text, at)
            if match is not None:
                yield match.span()
            run = match or _JWT_RUN.match(text, at)
            at = low.find(start, run.end() if run is not None else at + 1)


def _service_keys(text: str, low: str, start: str, key: re.Pattern[str]) -> Iterator[Place]:
    at = low.find(start)
    while at >= 0:
        match = key.match(text, at)
        if match is not None:
            yield match.span()
        at = low.find(start, match.end() if match is not None else at + 1)


def _named(low: str, name: str, after: re.Pattern[str]) -> Iterator[Place]:
    yield from _trimmed(low, _all(low, name, after, len(name), only_keys=name == "key"))


def _trimmed(low: str, places: Iterator[Place]) -> Iterator[Place]:
    """The places without the punctuation at their end."""
    for start, end in places:
        trimmed = end
        while trimmed > start and low[trimmed - 1] in _PUNCTUATION:
            trimmed -= 1
        if trimmed > start:
            yield start, trimmed


def _all(
    low: str, word: str, pattern: re.Pattern[str], offset: int, *, only_keys: bool = False
) -> Iterator[Place]:
    """The secrets that `pattern` finds `offset` characters after each `word`."""
    at = low.find(word)
    while at >= 0:
        match = pattern.match(low, at + offset)
        before = low[max(0, at - _LONGEST_BEFORE_KEY) : at]
        if match is not None and not (only_keys and _BEFORE_KEY.search(before) is None):
            yield match.span("secret")
            at = low.find(word, match.end())
        else:
            at = low.find(word, at + len(word))


def is_already_redacted(secret: str) -> bool:
    """Whether what looks like a secret is nothing but pseudonyms and punctuation."""
    return "‹" in secret and _LETTER_OR_DIGIT.search(PSEUDONYM.sub("", secret)) is None


def plain_name(key: str) -> str:
    """A key without case and separators, so that one entry finds all its spellings."""
    return key.lower().replace("_", "").replace("-", "").replace(" ", "")


class SecretNames(msgspec.Struct, frozen=True):
    """Which keys hold secrets: the ones everybody's do, and more of the operator's.

    An entry that begins with `$` is a path, `[*]` standing for any index.
    """

    exact: frozenset[str]
    paths: frozenset[str]

    @classmethod
    def with_more(cls, entries: Sequence[str]) -> SecretNames:
        return cls(
            frozenset(plain_name(entry) for entry in entries if not entry.startswith("$")),
            frozenset(entry for entry in entries if entry.startswith("$")),
        )

    def hold_text(self, key: str) -> bool:
        name = plain_name(key)
        bare = name.rstrip(_DIGITS)
        return bare.endswith(SECRET_ENDINGS) or bare in _SECRET_WHOLE or name in self.exact

    def hold_numbers(self, key: str) -> bool:
        name = plain_name(key)
        return name.rstrip(_DIGITS).endswith(SECRET_NUMBERS) or name in self.exact

    def traces(self) -> tuple[str, ...]:
        """What stands, as `plain_name` has it, in every text with one of the operator's keys."""
        last_names = {re.split(r"[.\[\]*]+", path.rstrip("]*["))[-1] for path in self.paths}
        return tuple(self.exact | {plain_name(name) for name in last_names})

    def patterns(self) -> Iterator[re.Pattern[str]]:
        """How one of the operator's keys and its value stand in text that is no JSON."""
        for name in sorted(self.exact):
            spelling = r"[_ -]?".join(map(re.escape, name))
            yield re.compile(
                rf"(?<![A-Za-z0-9_-]){spelling}(?:\\{{0,16}}[\"'])?\s?[:=]\s?"
                rf"(?:\\{{0,16}}[\"'])?{_BARE}",
                re.IGNORECASE,
            )
