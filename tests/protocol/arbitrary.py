"""What hypothesis may make up: messages, and texts that are none."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from megabot_cli.protocol.messages import MESSAGE_TYPES

# Finite numbers that a float holds, and integers beyond 64 bits.
numbers = st.one_of(
    st.integers(min_value=-(2**80), max_value=2**80),
    st.floats(allow_nan=False, allow_infinity=False),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20))
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
type_names = st.one_of(st.sampled_from(sorted(MESSAGE_TYPES)), st.text(max_size=12))
halves = st.text(st.characters(categories=["Cs"]), min_size=1, max_size=2)


@st.composite
def json_texts(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> str:
    """Any value, written in any of the ways that JSON allows."""
    return json.dumps(
        draw(values),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 1, "\t"])),
        separators=draw(st.sampled_from([None, (",", ":"), (" , ", " : ")])),
    )


def envelopes(
    values: st.SearchStrategy[Any] = json_values,
) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of the outer fields, each of them of any type, and fields of others."""
    metadata = st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("user_id", "session_id", "reply_to", "platform", "other"), values),
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "id": st.text(max_size=12) | values,
            "type": type_names | values,
            "payload": values,
            "timestamp": values,
            "metadata": metadata | values,
            "extra": values,
        },
    )


valid_messages = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=12),
        "type": st.sampled_from(["custom", "x.y"]),
        "payload": json_values.filter(lambda value: value is not None),
    },
    optional={"timestamp": st.integers(min_value=0, max_value=2**44)},
)

anything = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200),
    st.text(st.characters(), max_size=50),  # with halves of surrogate pairs
    json_texts(json_values),
    json_texts(envelopes()),
    json_texts(envelopes()).map(str.encode),
    # A message that was cut or has a byte changed.
    st.builds(
        lambda text, place, byte: text.encode()[:place] + byte + text.encode()[place + 1 :],
        json_texts(envelopes()),
        st.integers(min_value=0, max_value=80),
        st.binary(max_size=1),
    ),
)
