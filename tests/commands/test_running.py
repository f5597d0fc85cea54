"""A signal ends what runs, wherever in Python it comes."""

from __future__ import annotations

import signal
import sys
import time
import weakref

import pytest

from megabot_cli.commands.running import Interrupted, raising_on_signals


class _Watched:
    """Something that a weak reference can be to."""


def _told_in_a_weak_reference(number: int) -> None:
    """Have the signal come where Python lets no exception out, then go on."""
    gone = _Watched()
    kept = weakref.ref(gone, lambda _: signal.raise_signal(number))
    del gone
    assert kept() is None
    time.sleep(10)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Interrupted)]
)
def test_one_that_comes_where_python_forgets_exceptions_ends_it_all_the_same(
    number: int, raised: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    handler, hook = signal.getsignal(number), sys.unraisablehook
    began = time.monotonic()
    with pytest.raises(raised), raising_on_signals():
        _told_in_a_weak_reference(number)
    assert time.monotonic() - began < 5
    assert capsys.readouterr().err == ""
    assert (signal.getsignal(number), sys.unraisablehook) == (handler, hook)
