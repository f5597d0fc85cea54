"""Values as people type them."""

from __future__ import annotations

import pytest
import typer

from megabot_cli.commands.values import (
    days,
    duration,
    json_object,
    pairs,
    size_in_bytes,
    times_as_fast,
)
from megabot_cli.errors import BadData, WrongUsage


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("5m", 300), ("2h", 7200), ("1d", 86400), ("1.5", 1.5)],
)
def test_a_duration_has_a_unit_or_is_seconds(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1 week", "1e9", "٣s", "9" * 400])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500_000_000), ("1.5KiB", 1536), ("10 G", 10**10), ("100kB", 100_000), ("7", 7)],
)
def test_a_size_has_a_unit_or_is_bytes(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "1e9", "9" * 400, "9" * 400 + "GiB"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        size_in_bytes(text)


@pytest.mark.parametrize("text", ["nan", "inf", "0", "1001", "-1", "quick"])
def test_a_speed_is_a_number_from_a_tenth_to_a_thousand(text: str) -> None:
    assert (times_as_fast("0.1"), times_as_fast(1000.0)) == (0.1, 1000)
    with pytest.raises(typer.BadParameter):
        times_as_fast(text)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "a week", ""])
def test_days_are_a_number_of_them(text: str) -> None:
    assert (days("0"), days("1.5"), days(30.0)) == (0, 1.5, 30)
    with pytest.raises(typer.BadParameter, match="no number of days"):
        days(text)


def test_bad_json_is_told_with_its_place_marked() -> None:
    with pytest.raises(BadData, match=r"value at column 7$") as caught:
        json_object('{"a": tru}', "--payload")
    assert "→here← tru}" in (caught.value.hint or "")
    with pytest.raises(BadData, match=r"starting at line 2, column 6$"):
        json_object('{\n"a": "tru}', "--payload")


@pytest.mark.parametrize("text", ["[1]", "3", '"text"', "[" * 100_000, ""])
def test_what_is_no_object_is_bad_data(text: str) -> None:
    with pytest.raises(BadData):
        json_object(text, "--payload")


def test_pairs_are_json_where_they_can_be() -> None:
    assert pairs(["a=1", "b=text", 'c={"d":true}', "e=f=g", "h="], "--metadata") == {
        "a": 1,
        "b": "text",
        "c": {"d": True},
        "e": "f=g",
        "h": "",
    }


@pytest.mark.parametrize("text", ["a", "=1", ""])
def test_what_is_no_pair_is_wrong_usage(text: str) -> None:
    with pytest.raises(WrongUsage, match="--metadata"):
        pairs([text], "--metadata")
