"""What is told of many short runs.

What else the machine does comes and goes, and only ever adds: here the same loop takes between
once and three times its time. So the quieter runs are told, of every way alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable


def quieter(figures: Iterable[float]) -> float:
    """The lower quartile."""
    values = list(figures)
    return (
        statistics.quantiles(values, n=4, method="inclusive")[0] if len(values) > 1 else values[0]
    )
