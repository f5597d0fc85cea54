from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.storage.kept_texts import KeptTexts

TEXTS = st.lists(st.one_of(st.text(), st.binary()), max_size=20)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@given(TEXTS, st.integers(1, 60))
def test_any_texts_come_back_as_they_were_put(texts: list[str | bytes], at_once: int) -> None:
    with closing(KeptTexts(0, at_once)) as kept:
        numbers = [kept.put(text) for text in texts]
        assert [kept.get(number) for number in numbers if number is not None] == texts


@pytest.mark.parametrize("order", ["as they came", "from the last", "by chance"])
def test_texts_come_back_in_any_order_also_while_more_are_put(order: str) -> None:
    chance = random.Random(7)
    sizes = [chance.choice((0, 1, 300, 5_000, 66_000, 200_000)) for _ in range(60)]
    texts = [f"{number}:".ljust(size, "x") for number, size in enumerate(sizes)]
    with closing(KeptTexts(0, 1_000)) as kept:
        for number, text in enumerate(texts):
            assert kept.put(text) == number
            assert kept.get(number) == text
            assert kept.get(number // 2) == texts[number // 2]
        wanted = list(range(len(texts)))
        if order == "from the last":
            wanted.reverse()
        elif order == "by chance":
            wanted = chance.choices(wanted, k=500)
        assert [kept.get(number) == texts[number] for number in wanted] == [True] * len(wanted)


def test_what_is_asked_for_in_order_is_read_many_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[int] = []

    def pread(descriptor: int, count: int, at: int) -> bytes:
        reads.append(count)
        return system_pread(descriptor, count, at)

    system_pread = os.pread
    monkeypatch.setattr(os, "pread", pread)
    texts = [f"{number:0300}" for number in range(2_000)]
    with closing(KeptTexts(0)) as kept:
        for text in texts:
            kept.put(text)
        for sent, came in zip(texts, texts[100:], strict=False):  # in turn, some way apart
            assert kept.get(int(sent)) == sent
            assert kept.get(int(came)) == came
    assert len(reads) < 40


def test_what_is_no_utf_8_comes_back_too() -> None:
    with closing(KeptTexts(0, 1)) as kept:
        number = kept.put("half a pair: \ud83d")
        assert number is not None
        assert kept.get(number) == "half a pair: \ud83d"


def test_texts_are_due_when_memory_has_no_room_for_more() -> None:
    kept = KeptTexts(100)
    assert [kept.is_due(size) for size in (60, 40, 1, 0)] == [False, False, True, True]


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_the_file_is_opened_when_it_is_needed_and_closed_with_the_rest() -> None:
    before = descriptors()
    kept = KeptTexts(0, 10)
    kept.put("short")
    assert descriptors() == before
    kept.put("and longer")
    assert descriptors() == before + 1
    kept.close()
    assert descriptors() == before


def test_without_a_folder_for_it_texts_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", f"/nowhere/{os.getpid()}")
    kept = KeptTexts(0, 10)
    assert kept.put("the first, which is more than ten letters") == 0
    assert kept.put("another") is None
    assert kept.get(0) == "the first, which is more than ten letters"


FULL_DISK = """
import resource, signal, sys
from megabot_cli.storage.kept_texts import KeptTexts
resource.setrlimit(resource.RLIMIT_FSIZE, (250, 250))
kept = KeptTexts(0, 100)
texts = [f"{place} " * 30 for place in range(10)]
numbers = [kept.put(text) for text in texts]
taken = [number for number in numbers if number is not None]
assert taken == [0, 1, 2, 3, 4, 5], numbers  # the fifth on both sides
assert [kept.get(number) for number in taken] == texts[: len(taken)]
kept.close()
print("all came back")
"""


def test_a_disk_that_is_full_in_the_middle_of_a_text_loses_none() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK], capture_output=True, text=True, check=False
    )
    assert done.stdout == "all came back\n", done.stderr
