"""When a request is taken for a recorded one."""

from __future__ import annotations

import json

import pytest

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.likeness import Likeness, Match, names_of, step_to


def chat(content: str = "hi", **more: object) -> str:
    payload = {"content": content, **more}
    return json.dumps({"id": "m1", "type": "chat_send", "payload": payload, "timestamp": 1})


def other_day(text: str) -> str:
    """The same from somebody else at another time, its keys in another order."""
    message = json.loads(text) | {"id": "m9", "timestamp": 2.5, "metadata": {"user_id": "bob"}}
    return json.dumps(dict(reversed(message.items())), indent=1)


@pytest.mark.parametrize("match", ["exact", "payload", "text", "type"])
def test_ids_and_times_of_a_message_never_count(match: Match) -> None:
    likeness = Likeness(match)
    assert likeness.key(chat()) == likeness.key(other_day(chat()))


@pytest.mark.parametrize(
    ("one", "other", "alike_from"),
    [
        (chat(task_id="a"), chat(task_id="b"), "payload"),
        (chat("Good  morning"), chat("good morning", options={"seed": 1}), "text"),
        (chat("hi"), chat("ho"), "type"),
        (chat(), chat().replace("chat_send", "session_join"), "never"),
        ("plain text", "Plain  text", "text"),
        ('{"type":"message","content":"a"}', '{"type":"message","content":"b"}', "type"),
    ],
)
def test_how_like_is_like_enough(one: str, other: str, alike_from: str) -> None:
    order: list[Match] = ["exact", "payload", "text", "type"]
    alike = [match for match in order if Likeness(match).key(one) == Likeness(match).key(other)]
    assert alike == (order[order.index(alike_from) :] if alike_from in order else [])


@pytest.mark.parametrize("path", ["payload.a.0.seed", "$.payload.a[0].seed", "payload.a.*.seed"])
def test_a_path_that_is_ignored_does_not_count(path: str) -> None:
    likeness = Likeness("exact", (path,))
    assert likeness.key(chat(a=[{"seed": 1}])) == likeness.key(chat(a=[{"seed": 2}]))
    assert likeness.key(chat(a=[{"seed": 1}])) != likeness.key(chat("ho", a=[{"seed": 1}]))


@pytest.mark.parametrize("key", ["odd.key", "a[0]", 'say "x"', "a # b", "two\nlines", "", "é"])
def test_a_key_of_any_kind_can_be_named_in_a_path(key: str) -> None:
    path = f"payload{step_to(key)}.seed"
    assert names_of(path) == ["payload", key, "seed"]
    assert "\n" not in path
    likeness = Likeness("exact", (path,))
    one, two = ({"type": "t", "payload": {key: {"seed": seed}}} for seed in (1, 2))
    assert likeness.key(json.dumps(one)) == likeness.key(json.dumps(two))


@pytest.mark.parametrize("path", ["", "$", "a..b", ".", "a[", "a[]", 'a["x', 'a["\\q"]'])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(WrongUsage):
        Likeness("payload", (path,))


def test_a_redacted_place_does_not_count_whatever_stands_there() -> None:
    likeness = Likeness()
    wild = frozenset(["$.payload.token"])
    keys = {likeness.key(chat(token=value), wild) for value in ("a", 'b"\\', 17, None)}
    assert len(keys) == 1
    assert likeness.key(chat("ho", token="a"), wild) not in keys


MARK = "‹redacted:9f2c0000›"


@pytest.mark.parametrize(
    ("recorded", "today", "fits"),
    [
        (MARK, "anything", True),
        (f"Bearer {MARK} and pw {MARK}.", "Bearer abc and pw x.", True),
        (f"Bearer {MARK} and pw {MARK}.", "Bearer abc", False),
        (f"Bearer {MARK}", "something else", False),
        (f"say {MARK}", 'say "é\\n"', True),
        (f"aba{MARK}ba", "aba", False),
        (f"Bearer {MARK}", "bearer  abc", "text"),
    ],
)
def test_what_stands_around_a_secret_counts(recorded: str, today: str, fits: bool | str) -> None:
    wild = frozenset(["$.payload.content"])
    matches: list[Match] = ["exact", "payload", "text"]
    for match in matches:
        likeness = Likeness(match)
        around = likeness.surroundings(chat(recorded), wild)
        assert likeness.stands_in(around, chat(today)) is (fits is True or fits == match)
    likeness = Likeness("type")
    assert likeness.stands_in(likeness.surroundings(chat(recorded), wild), chat(today))


def test_text_and_binary_are_not_alike_and_nonsense_has_a_key_too() -> None:
    likeness = Likeness()
    texts = [
        "",
        "[" * 10_000,
        '{"type":',
        '{"id":"\\ud800","type":"x"}',
        "\udc80",
        "1e999",
        f'{{"payload":{10**30}}}',
    ]
    keys = {likeness.key(text) for text in texts} | {likeness.key(b""), likeness.key(b"\xff")}
    assert len(keys) == len(texts) + 2
