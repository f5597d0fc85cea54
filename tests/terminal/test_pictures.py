from __future__ import annotations

import pytest

from megabot_cli.terminal.pictures import bar, sparkline


@pytest.mark.parametrize(
    ("value", "drawn"), [(0, ""), (10, "██████████"), (5, "█████"), (0.01, "▏"), (5.5, "█████▌")]
)
def test_a_bar_is_as_long_as_its_value_and_never_nothing_for_something(
    value: float, drawn: str
) -> None:
    assert bar(value, 10, 10) == drawn


def test_a_line_has_a_column_for_each_value_or_for_several() -> None:
    assert sparkline([0, 1, 2, 4, 8], 10) == " ▂▃▅█"
    assert len(sparkline([1] * 1000, 80)) <= 80
    assert sparkline([], 10) == ""
