"""Small pictures out of characters: bars, and a line over time."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"


def bar(value: float, most: float, width: int) -> str:
    """A bar as long as `value` is of `most`; of anything above zero at least a sliver."""
    if value <= 0 or most <= 0:
        return ""
    eighths = max(1, round(value / most * width * 8))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[float], width: int) -> str:
    """A line of at most `width` columns: each as high as what falls into it, blank for none."""
    if not values:
        return ""
    per_column = -(-len(values) // width)
    columns = [sum(values[at : at + per_column]) for at in range(0, len(values), per_column)]
    most = max(columns)
    return "".join(
        _HEIGHTS[min(7, int(value / most * 8))] if value > 0 else " " for value in columns
    )
