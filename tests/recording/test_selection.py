from __future__ import annotations

import pytest

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection

RECORD = Record(
    n=1,
    t=1_500_000,
    kind="message",
    direction="to_client",
    client="client_1",
    link="link_1",
    session="sess_1",
    user="ann",
    type="chat_stream",
    data='{"payload":{"chunk":"hello"}}',
)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(types=("chat_*",)),
        Selection(types=("status_update", "chat_stream")),
        Selection(kinds=("mess*",), direction="to_client"),
        Selection(sessions=("sess_0", "sess_1"), clients=("client_1",), users=("ann",)),
        Selection(links=("link_1",), grep="hel+o"),
        Selection(from_us=1_500_000, until_us=1_500_001),
    ],
)
def test_a_record_that_fits_every_word_is_wanted(selection: Selection) -> None:
    assert selection.matches(RECORD)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(types=("chat_s",)),
        Selection(types=("chat_*",), direction="to_upstream"),
        Selection(kinds=("open",)),
        Selection(sessions=("sess_2",)),
        Selection(clients=("client_2",)),
        Selection(links=("link_2",)),
        Selection(users=("bob",)),
        Selection(grep="goodbye"),
        Selection(from_us=1_500_001),
        Selection(until_us=1_500_000),
    ],
)
def test_a_record_that_misses_one_word_is_not(selection: Selection) -> None:
    assert not selection.matches(RECORD)


def test_a_pattern_that_is_none_is_wrong_usage_that_names_the_place() -> None:
    with pytest.raises(WrongUsage, match="character 4"):
        Selection(grep="abc(").matcher()


def test_only_an_empty_selection_is_everything() -> None:
    assert Selection().everything
    assert not Selection(from_us=0).everything
