"""Secrets, types and payloads go from a recording that is handed on; all else stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.held_streams import HeldStreams
from megabot_cli.recording.record import Record
from megabot_cli.recording.secret_shapes import PSEUDONYM
from megabot_cli.storage.more_secrets import MoreSecrets
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.verification import verify
from tests.recording.arbitrary import CANARY, planted_texts, thorough
from tests.storage.conftest import segment_bytes
from tests.storage.made import (
    SEALED,
    lines_of,
    recorded,
    sanitized,
    sealed_bytes,
)


def test_lines_without_secrets_stay_as_they_are(tmp_path: Path) -> None:
    done = sanitized(SEALED, tmp_path / "made")
    source = [line for part in sorted(SEALED.iterdir()) for line in lines_of(part)[1:-1]]
    assert lines_of(tmp_path / "made")[1:-1] == source
    assert (done.written, done.changed, done.dropped) == (35, 0, 0)
    assert verify(tmp_path / "made", secrets=True).clean


def test_equal_secrets_have_equal_pseudonyms_and_others_stay(tmp_path: Path) -> None:
    texts = ['{"badge":"007"}', '{"x":{"badge":"007"}}', '{"token":"‹redacted:01020304›"}']
    some = [Record(n=n, t=n, kind="message", data=text) for n, text in enumerate(texts, 1)]
    sanitized(recorded(tmp_path / "a", some), tmp_path / "made", keys=("badge",))
    with open_recording(tmp_path / "made") as reader:
        one, two, three = reader
    assert json.loads(one.data or "")["badge"] == json.loads(two.data or "")["x"]["badge"]
    assert "‹redacted:" in (one.data or "")
    assert (one.redacted, two.redacted) == (["$.badge"], ["$.x.badge"])
    assert three.data == texts[2]


def test_what_was_redacted_before_stays_told(tmp_path: Path) -> None:
    some = [Record(n=1, t=1, kind="message", data='{"a":1,"name":"x"}', redacted=["$.a"])]
    sanitized(recorded(tmp_path / "a", some), tmp_path / "made", keys=("name",))
    with open_recording(tmp_path / "made") as reader:
        assert [record.redacted for record in reader] == [["$.a", "$.name"]]


def test_a_label_and_a_path_that_tell_a_secret_do_so_no_more(tmp_path: Path) -> None:
    source, made = tmp_path / "a", tmp_path / "made"
    some = [Record(n=1, t=1, kind="message", data="{}", redacted=["$.a", "$.token=hunter"])]
    source.write_bytes(segment_bytes(some, labels={"token": "hunter", "place": "here"}))
    sanitized(source, made)
    assert b"hunter" not in made.read_bytes()
    assert json.loads(lines_of(made)[0])["labels"]["place"] == "here"
    assert verify(made, secrets=True).secrets_found == 0


def test_types_and_payloads_are_dropped(tmp_path: Path) -> None:
    done = sanitized(SEALED, tmp_path / "made", types=("chat_*",), payloads=True)
    assert done.dropped > 0
    with open_recording(tmp_path / "made") as reader:
        found = list(reader)
    assert not any(each.data or each.data_b64 or each.redacted for each in found)
    assert not any((each.type or "").startswith("chat_") for each in found)
    assert any(each.size for each in found)
    assert verify(tmp_path / "made").clean


def test_keys_of_a_later_version_are_kept_but_for_their_secrets(tmp_path: Path) -> None:
    line = b'{"n":1,"t":1,"kind":"message","later":{"deep":[1.0e2],"token":"hush"},"data":"x"}\n'
    text = segment_bytes([]).replace(
        b'"version":"1.0"', b'"version":"1.7","more":{"secret":"hush"}'
    )
    (tmp_path / "a").write_bytes(
        sealed_bytes(text + line + line.replace(b'"token":"hush"', b'"y":12345678901234567890'))
    )
    sanitized(tmp_path / "a", tmp_path / "made")
    content = (tmp_path / "made").read_bytes()
    assert b"hush" not in content
    header, first, second, _ = content.splitlines()
    assert json.loads(header)["version"] == "1.7"
    assert "redacted" in json.loads(header)["more"]["secret"]
    assert b'"deep":[1.0e2]' in first
    assert b'"y":12345678901234567890' in second


def test_a_key_that_is_called_like_one_of_ours_leaves_ours_alone(tmp_path: Path) -> None:
    sanitized(SEALED, tmp_path / "made", keys=("n", "t", "kind", "type", "version", "format"))
    assert verify(tmp_path / "made").clean


def test_a_pattern_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="no regular expression"):
        sanitized(SEALED, tmp_path / "made", patterns=("(",))


@settings(thorough, max_examples=100)
@given(st.lists(planted_texts, min_size=1, max_size=4), st.data())
def test_a_secret_in_any_place_is_in_no_byte_of_what_is_made(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("canary")
    source = folder / "a"
    some = []
    for n, text in enumerate(texts, 1):
        record = Record(n=n, t=n, kind="message", direction="to_client", data=text)
        place = data.draw(st.sampled_from(["note", "reason", "by", "id", "session", "link"]))
        setattr(record, place, f"Bearer {CANARY}")
        some.append(record)
    source.write_bytes(
        segment_bytes(some, upstream=f"wss://x/?token={CANARY}", labels={"why": f"Bearer {CANARY}"})
    )
    sanitized(source, folder / "made")
    assert CANARY.encode() not in (folder / "made").read_bytes()
    assert verify(folder / "made", secrets=True).secrets_found == 0


def _streamed(pieces: list[str], reply_to: str = "m1", *, ends: bool = True) -> list[Record]:
    return [
        Record(
            n=0,
            t=0,
            kind="message",
            type="chat_stream",
            link="link_1",
            data=json.dumps(
                {
                    "id": "s",
                    "type": "chat_stream",
                    "payload": {"chunk": piece, "is_complete": ends and place == len(pieces) - 1},
                    "metadata": {"reply_to": reply_to},
                }
            ),
        )
        for place, piece in enumerate(pieces)
    ]


CARD = r"(\d{4} ){3}\d{4}"


def _numbered(some: list[Record]) -> list[Record]:
    for n, record in enumerate(some, 1):
        record.n, record.t = n, n * 10
    return some


def _said(path: Path, reply_to: str = "m1") -> str:
    with open_recording(path) as reader:
        said = [json.loads(record.data or "") for record in reader if record.type == "chat_stream"]
    return "".join(
        each["payload"]["chunk"] for each in said if each["metadata"]["reply_to"] == reply_to
    )


@pytest.mark.parametrize(
    ("pieces", "keys", "patterns", "left"),
    [
        (["card 4111", " 1111 ", "1111 ", "1111 ok"], (), (CARD,), "card ‹› ok"),
        (list("card 4111 1111 1111 1111 ok"), (), (CARD,), "card ‹› ok"),
        (["the badge: 0", "0", "7, yes"], ("badge",), (), "the badge: ‹› yes"),
        (["it is sk-li", "ve-ABCDEFGHIJ", "KLMNOPQRSTUV."], (), (), "it is ‹›."),
        (['{"password":', "12", "34}"], (), (), '{"password":"‹›"}'),
        (["x" * 3000, "4111 1111", "y" * 5000, " 1"], (), (CARD,), None),
        (["x" * 8190, "4111 1111 ", "1111 1111", "y" * 8190], (), (CARD,), "‹›"),
    ],
)
def test_a_secret_in_pieces_goes_from_all_of_its_chunks(
    tmp_path: Path,
    pieces: list[str],
    keys: tuple[str, ...],
    patterns: tuple[str, ...],
    left: str | None,
) -> None:
    for ends in (True, False):
        source = recorded(tmp_path / "a", _numbered(_streamed(pieces, ends=ends)))
        sanitized(source, tmp_path / "made", keys, patterns)
        said = PSEUDONYM.sub("‹›", _said(tmp_path / "made"))
        assert said.replace("x" * 8190, "").replace("y" * 8190, "") == (left or "".join(pieces))
        found = verify(tmp_path / "made", secrets=True, keys=keys, patterns=patterns)
        assert (found.clean, found.secrets_found) == (True, 0)
        found = verify(source, secrets=True, keys=keys, patterns=patterns)
        assert bool(found.secrets_found) is (left is not None)


def test_streams_that_go_on_side_by_side_keep_the_order_of_lines(tmp_path: Path) -> None:
    one = _streamed(["4111 1111 ", "1111 ", "1111."], "m1")
    two = _streamed(["5500 ", "0000 0000 ", "0004!"], "m2", ends=False)
    other = Record(n=0, t=0, kind="mark", note="between")
    some = _numbered([one[0], two[0], one[1], other, two[1], two[2], one[2]])
    done = sanitized(recorded(tmp_path / "a", some), tmp_path / "made", patterns=(CARD,))
    assert (done.written, done.changed) == (7, 6)
    with open_recording(tmp_path / "made") as reader:
        kept = list(reader)
    assert [(record.n, record.t) for record in kept] == [(n, n * 10) for n in range(1, 8)]
    assert kept[3].note == "between"
    assert PSEUDONYM.sub("‹›", _said(tmp_path / "made", "m1")) == "‹›."
    assert PSEUDONYM.sub("‹›", _said(tmp_path / "made", "m2")) == "‹›!"


def test_a_stream_that_never_ends_holds_back_only_so_much() -> None:
    held = HeldStreams(MoreSecrets((), (CARD,)).redactor())
    first = _streamed(["4111 1111 "], ends=False)[0]
    other = Record(n=2, t=2, kind="mark")
    assert list(held.add(first, b"x")) == []
    most = 0
    waiting = 1
    for _ in range(40):
        waiting += 1 - sum(1 for _ in held.add(other, b"y" * 1024 * 1024))
        most = max(most, waiting)
    assert most <= 9


@pytest.mark.parametrize("key", ["id", "type", "reply_to", "session", "user", "client", "link"])
def test_a_secret_beside_a_payload_without_any_goes_too(tmp_path: Path, key: str) -> None:
    record = Record(n=1, t=0, kind="message", direction="to_upstream", data="{}")
    setattr(record, key, f"token={CANARY}")
    source = tmp_path / "source.jsonl"
    source.write_bytes(segment_bytes([record]))
    sanitized(source, tmp_path / "made.jsonl")
    assert CANARY.encode() not in (tmp_path / "made.jsonl").read_bytes()
    assert verify(tmp_path / "made.jsonl", secrets=True).secrets_found == 0
