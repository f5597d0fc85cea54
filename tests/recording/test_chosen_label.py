from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.chosen_label import chosen_label, narrowed_label, read_chosen
from megabot_cli.recording.selection import Selection

words = st.lists(st.text(min_size=1, max_size=8).filter(lambda word: word != "|"), max_size=3).map(
    tuple
)
# A name as it is typed: of a mark that begins like the word itself only the word would be left.
marks = st.text(min_size=1, max_size=8).filter(
    lambda name: name.strip() == name and not name.startswith("mark=")
)
places = st.one_of(
    st.none(),
    st.integers(0, 10**12).map(lambda value: Place("offset", value)),
    st.integers(1, 10**12).map(lambda value: Place("number", value)),
    marks.map(lambda name: Place("mark", name=name)),
)
selections = st.builds(
    Selection,
    types=words,
    sessions=words,
    clients=words,
    users=words,
    links=words,
    ids=words,
    direction=st.sampled_from([None, "to_upstream", "to_client"]),
    begin=places,
    until=places,
)


@given(selections, selections)
def test_any_words_of_a_part_of_a_part_are_read_again(first: Selection, second: Selection) -> None:
    label = chosen_label(second, chosen_label(first, None, 0.0), 0.0)
    found = read_chosen(label, same_source=True)
    if len(label) <= 4096:
        used = tuple(each for each in (first, second) if each != Selection())
        assert found == (used or (Selection(),))


@given(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(["--from ", "--until ", "--type ", "--direction "]).flatmap(
            lambda flag: st.from_regex(r"[0-9:. T+hmsn=-]*").map(lambda value: flag + value)
        ),
        st.just("--from 0001-01-01T00:00:00+14:00"),
    )
)
def test_any_strangers_label_is_read_or_not(label: str) -> None:
    for same_source in (True, False):
        for each in read_chosen(label, same_source=same_source) or ():
            each.chooser(0.0)


@pytest.mark.parametrize(
    "wanted",
    [
        Selection(grep="s3cret"),
        Selection(where="payload.password == 's3cret'"),
        Selection(limit=3),
        Selection(types=("x",), around=5),
    ],
)
def test_what_cannot_be_asked_again_is_not_and_expressions_are_not_written_out(
    wanted: Selection,
) -> None:
    label = chosen_label(wanted, None, 0.0)
    assert "s3cret" not in label
    assert read_chosen(label, same_source=True) is None
    assert read_chosen(narrowed_label("--type x"), same_source=True) is None


def test_of_another_source_only_types_and_direction_are_asked() -> None:
    label = "--type 'chat_*' --direction to_client"
    expected = (Selection(types=("chat_*",), direction="to_client"),)
    assert read_chosen(label, same_source=False) == expected
    assert read_chosen(f"{label} | --session s", same_source=False) is None


def test_a_wall_time_is_written_as_the_place_it_was_in_that_recording() -> None:
    wanted = Selection(begin=Place("wall", 1_700_000_012_500_000))
    assert chosen_label(wanted, None, 1_700_000_000.0) == "--from 12.5s"
