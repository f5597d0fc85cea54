"""What somebody noted while it was recorded, told at its place among what is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from megabot_cli.replay.recorded_message import RecordedMark, RecordedMessage


class Marks:
    """Those that are still to come; `on_mark` hears of each as it passes."""

    def __init__(
        self, marks: Sequence[RecordedMark], on_mark: Callable[[RecordedMark], None] | None
    ) -> None:
        self._left = deque(marks)
        self._on_mark = on_mark

    def pass_before(self, n: int | None) -> None:
        """Tell those that stand before record `n`, all that are left without one."""
        while self._left and (n is None or self._left[0].n < n):
            mark = self._left.popleft()
            if self._on_mark is not None:
                self._on_mark(mark)

    def none_between(self, pack: list[RecordedMessage]) -> list[RecordedMessage]:
        """Of messages that go together those before the next mark: one at least."""
        if not self._left or self._left[0].n > pack[-1].n:
            return pack
        upto = self._left[0].n
        return pack[:1] + [message for message in pack[1:] if message.n < upto]
