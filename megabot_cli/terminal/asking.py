"""Ask something that may be long in answering, and meanwhile hear the keyboard."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Asked(Generic[T]):
    """What `question` returns or raises, some time: `fileno` can be read from then on."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._answer: T | None = None
        self._fault: BaseException | None = None
        self._ended, self._ending = os.pipe()
        # A daemon: an answer that nobody waits for any more must keep no command from ending.
        threading.Thread(target=self._ask, name="asking", daemon=True).start()

    def fileno(self) -> int:
        return self._ended

    def _ask(self) -> None:
        try:
            self._answer = self._question()
        except BaseException as fault:  # it is raised where the answer is wanted
            self._fault = fault
        finally:
            os.close(self._ending)

    def answer(self) -> T:
        """Wait for it, and return or raise it. Once only."""
        os.read(self._ended, 1)
        os.close(self._ended)
        if self._fault is not None:
            raise self._fault
        return self._answer  # type: ignore[return-value]  # None where that is the answer
