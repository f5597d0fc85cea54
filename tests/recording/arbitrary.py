"""What hypothesis may make up: records, and texts with and without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from megabot_cli.recording.record import KINDS, Record

thorough = settings(
    deadline=None,  # a busy machine is no fault of the code
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)

words = st.text(max_size=12)
maybe_words = st.none() | words
numbers = st.integers(min_value=0, max_value=2**53)
maybe_numbers = st.none() | numbers

records = st.builds(
    Record,
    n=st.integers(min_value=1, max_value=2**53),
    t=numbers,
    kind=st.sampled_from(sorted(set(KINDS) - {"end"})) | st.just("later_kind"),
    direction=st.sampled_from([None, "to_upstream", "to_client"]),
    client=maybe_words,
    link=maybe_words,
    session=maybe_words,
    user=maybe_words,
    id=maybe_words,
    type=maybe_words,
    reply_to=maybe_words,
    opcode=st.sampled_from([None, "binary"]),
    size=maybe_numbers,
    data=st.none() | st.text(max_size=60),
    data_b64=st.sampled_from([None, "", "AA==", "/+8="]),
    redacted=st.none() | st.lists(words, min_size=1, max_size=3),
    code=maybe_numbers,
    reason=maybe_words,
    by=maybe_words,
    note=maybe_words,
    lost=maybe_numbers,
    lost_bytes=maybe_numbers,
)

# Pieces that make up secrets, near misses, and the ways to hide them.
_PIECES = (
    "token", "tokens", "max_token", "password", "api_key", "X-API-Key", "Authorization",
    "Cookie", "secret", "secretary", "key", "Bearer ", "bearer\t", "Basic ", "eyJ",
    "eyJhbGciOiJI.eyJzdWIi.c2ln", "‹redacted:00ff00ff›", "=", ":", ": ", '":"', '"', "'", "\\",
    '\\"', "\\\\", "\\u0070", "\\u00e9", "{", "}", "[", "]", ",", " ", "\n", "&", "?", "://",
    "@", "/", ".", "-", "12", "true", "null", "hunter2", "é", "😀", "İ", "\ud800",
)  # fmt: skip
secretive_texts = st.lists(st.sampled_from(_PIECES), max_size=14).map("".join)

json_scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | secretive_texts
json_values = st.recursive(
    json_scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_PIECES) | st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=10,
)
writers: st.SearchStrategy[Callable[[Any], str]] = st.builds(
    lambda ascii_only, separators: (
        lambda value: json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    ),
    st.booleans(),
    st.sampled_from([None, (",", ":"), (" , ", " : ")]),
)
json_texts = st.builds(lambda write, value: write(value), writers, json_values)
any_texts = st.one_of(
    st.text(max_size=80),
    secretive_texts,
    json_texts,
    st.builds(lambda t, n: t[:n], json_texts, st.integers(0, 60)),
)

CANARY = "c4n4ry-Wq7"

_secret_places = st.sampled_from(
    [
        lambda s: {"password": s},
        lambda s: {"Access-Token": s},
        lambda s: {"githubToken": s},
        lambda s: {"x": [1, {"api_key": s}]},
        lambda s: {"Authorization": f"Bearer {s}"},
        lambda s: {"headers": {"Cookie": [f"sid={s}"]}},
        lambda s: {"secret": {"value": s, "n": 1}},
        lambda s: f"eyJhbGciOiJIUzI1NiJ9.eyJ{s}.{s}",
        lambda s: f"Bearer {s}",
        lambda s: f"it said bearer  {s}, and left",
        lambda s: f"wss://api.example/ws?user_id=1&token={s}&platform=x",
        lambda s: f"wss://robot:{s}@api.example/ws",
        lambda s: f"Authorization: Basic {s}",
        lambda s: f"GET /\r\nCookie: a={s}; b={s}\r\n\r\n",
        lambda s: f"the password: {s} and",
        lambda s: f"api_key='{s}'",
        lambda s: f"{{'token': '{s}'}}",
        lambda s: f'it failed with {{"refresh_token": "{s}"}} "',
    ]
)  # fmt: skip


def _hide(secret: Any, wrappings: list[Callable[[Any], Any]]) -> Any:
    for wrap in wrappings:
        secret = wrap(secret)
    return secret


_wrappings = st.one_of(
    st.builds(lambda name, other: lambda value: {"o": other, name: value}, words, json_scalars),
    st.builds(lambda before: lambda value: [*before, value], st.lists(json_scalars, max_size=2)),
    st.builds(lambda write: lambda value: {"body": write(value)}, writers),
)
planted_texts = st.builds(
    lambda place, wrappings, write: write(_hide(place(CANARY), wrappings)),
    _secret_places,
    st.lists(_wrappings, max_size=4),
    writers,
)
