"""Run a command's coroutine so that signals end it cleanly."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

T = TypeVar("T")


class Interrupted(BaseException):
    """A signal ended the command. The exit code is 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


PATIENCE_S = 1.0
_OUT_OF_IT_S = 0.01  # then what swallowed it has been left

# Ctrl-C has its own way: Python raises KeyboardInterrupt, asyncio cancels the main task.
ENDING = ("SIGTERM", "SIGHUP")
ENDING_SIGNALS = tuple(
    number for name in ENDING if (number := getattr(signal, name, None)) is not None
)


def run(work: Coroutine[Any, Any, T], *, loop: Literal["plain", "fast"] = "plain") -> T:
    """Run `work` to its end. SIGTERM and SIGHUP cancel it, then raise Interrupted.

    `fast` is uvloop where there is one; loading it costs more than a short command gains.
    """
    try:
        _hear_ctrl_c(later=True)  # in the middle of what follows it would leave a loop half made
        import asyncio

        with asyncio.Runner(loop_factory=_fast_loop() if loop == "fast" else None) as runner:
            return runner.run(_until_signal(work))
    finally:
        work.close()  # where it was not begun
        _hear_ctrl_c(later=False)


def _hear_ctrl_c(*, later: bool) -> None:
    """Have the system hold it back, or hand over what it held back."""
    if hasattr(signal, "pthread_sigmask"):
        how = signal.SIG_BLOCK if later else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, {signal.SIGINT})


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _until_signal(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    task = asyncio.current_task()
    seen: list[int] = []

    def stop(number: int) -> None:
        seen.append(number)
        if task is not None:
            task.cancel()

    with on_signals(ENDING, stop), _one_ctrl_c_at_a_time():
        try:
            _hear_ctrl_c(later=False)
            return await work
        except asyncio.CancelledError:
            if seen:
                raise Interrupted(seen[0]) from None
            raise


@contextlib.contextmanager
def on_signals(names: tuple[str, ...], call: Callable[[int], None]) -> Iterator[None]:
    """Call `call` with the number of each of these signals; those ignored before stay so."""
    import asyncio

    loop = asyncio.get_running_loop()
    handled: list[tuple[int, Any]] = []
    for name in names:
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) is signal.SIG_IGN:
            continue
        before = signal.getsignal(number)
        try:
            loop.add_signal_handler(number, call, number)
        except (NotImplementedError, RuntimeError, ValueError):
            continue  # Windows, or not in the main thread
        handled.append((number, before))
    try:
        yield
    finally:
        for number, before in handled:
            loop.remove_signal_handler(number)
            signal.signal(number, before)


@contextlib.contextmanager
def _one_ctrl_c_at_a_time() -> Iterator[None]:
    """The first has us tidy up; a second at once is the same impatience. One that comes when
    tidying has taken `PATIENCE_S` breaks it off."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return
    first_at: float | None = None

    def told(number: int, frame: FrameType | None) -> None:
        nonlocal first_at
        now = time.monotonic()
        if first_at is None or now - first_at >= PATIENCE_S:
            first_at = first_at or now
            before(number, frame)

    try:
        signal.signal(signal.SIGINT, told)
    except ValueError:  # not in the main thread: somebody embeds us
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Wait for whichever ends first; cancel the others, and raise what the first raised."""
    import asyncio

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(work, name=getattr(work, "__qualname__", "work")) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


@contextlib.contextmanager
def raising_on_signals() -> Any:
    """Outside a loop, such as at a prompt: raise Interrupted, so that everything is tidied."""

    def stop(number: int, _frame: object) -> None:
        raise Interrupted(number)

    with _raised_again_where_swallowed(), _handled_by(stop):
        yield


@contextlib.contextmanager
def _raised_again_where_swallowed() -> Iterator[None]:
    """Where Python cannot let a signal's exception out, in a finalizer or in what a weak reference
    calls (each import has one), it prints and forgets it, and nothing would end."""
    before = sys.unraisablehook

    def told(what: sys.UnraisableHookArgs) -> None:
        fault = what.exc_value
        if isinstance(fault, KeyboardInterrupt):
            _thread.start_new_thread(_signal_soon, (_thread.get_ident(), signal.SIGINT))
        elif isinstance(fault, Interrupted):
            _thread.start_new_thread(_signal_soon, (_thread.get_ident(), fault.number))
        else:
            before(what)

    sys.unraisablehook = told
    try:
        yield
    finally:
        sys.unraisablehook = before


def _signal_soon(thread: int, number: int) -> None:
    """To that thread, which may be waiting in the system."""
    time.sleep(_OUT_OF_IT_S)
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(thread, number)
    else:
        _thread.interrupt_main(signal.Signals(number))


@contextlib.contextmanager
def _handled_by(stop: Callable[[int, object], None]) -> Iterator[None]:
    before: list[tuple[int, Any]] = []
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        with contextlib.suppress(ValueError):  # not in the main thread: somebody embeds us
            before.append((number, signal.signal(number, stop)))
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
