"""A connection that is dialled again when it falls, and the one task that reads it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from megabot_cli.client.credentials import Credential
from megabot_cli.client.dial import Dialed, Greeting, Socket, dial, hang_up
from megabot_cli.client.endpoint import Endpoint
from megabot_cli.client.received import Received
from megabot_cli.client.reconnect import Attempts, Loss, given_up
from megabot_cli.client.refusals import clean, who_of
from megabot_cli.client.tokens import TokenSource
from megabot_cli.client.wire_form import WireForm
from megabot_cli.errors import ConnectionLost, MegabotError, NotAuthenticated, UpstreamRefused
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.compression import Overlong

_MESSAGES = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)


@dataclass(frozen=True)
class Listener:
    """Whom a connection tells what. All are called in its task and return at once."""

    came_up: Callable[[Socket, Greeting], None]
    went_down: Callable[[Loss], None]
    retrying: Callable[[int, float], None]  # the attempt, from 1, and seconds before it
    heard: Callable[[Received], None]
    ended: Callable[[MegabotError], None]  # nothing more will come; not told after `close`


class KeptConnection:
    """Opens, reads, and opens again as `attempts` allows, in one session where possible.

    `dial_options` go to `dial`. Messages are read as fast as they come: the listener never
    makes the connection wait.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        endpoint: Endpoint,
        tokens: TokenSource,
        attempts: Attempts,
        listener: Listener,
        *,
        session_id: str | None,
        dial_options: dict[str, Any],
        form: WireForm,
    ) -> None:
        self._form = form
        self._http = http
        self._endpoint = endpoint
        self._tokens = tokens
        self._attempts = attempts
        self._listener = listener
        self._session_id = session_id
        self._dial_options = dial_options
        self._used: Credential | None = None
        self._socket: Socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._fault: Exception | None = None  # of the task, and none of the connection
        self._texts: Callable[[list[bytes]], object] | None = None
        self._listeners_fault: Exception | None = None

    def deliver(self, texts: Callable[[list[bytes]], object]) -> None:
        """Have texts told at once, all that came together, instead of one by one as `heard`.

        Only such as are what they say: none where signatures are demanded.
        """
        self._texts = texts
        if self._socket is not None:
            self._divert(self._socket)

    def _divert(self, socket: Socket) -> None:
        if self._texts is not None and not self._form.demands_signatures:
            from megabot_cli.client import wire  # most clients read as aiohttp means it

            wire.deliver_to(socket, self._take)

    def _let_be(self, socket: Socket) -> None:
        """A socket that lives on for a while in others' hands does not hold who listened to it."""
        if self._texts is not None:
            from megabot_cli.client import wire

            wire.deliver_to(socket, None)

    def _take(self, batch: list[bytes], binary: bool, _whole: bytes | None = None, /) -> None:
        assert self._texts is not None
        if binary:
            try:
                received = self._form.incoming(aiohttp.WSMsgType.BINARY, batch[0])
            except Overlong as fault:
                raise aiohttp.WebSocketError(CloseCode.TOO_BIG, fault.message) from None
            assert received is not None  # no signature is demanded
            self._listener.heard(received)
            return
        try:
            b"".join(batch).decode()
        except UnicodeDecodeError:
            raise aiohttp.WebSocketError(CloseCode.INVALID_TEXT, "no UTF-8") from None
        try:
            self._texts(batch)
        except Exception as fault:
            self._listeners_fault = fault  # for aiohttp it would be one of the connection
            raise

    async def open(self) -> None:
        """Connect, and start reading. A first connection that fails is not tried again."""
        socket = await self._come_up(await self._connect(None))
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(socket), name="megabot client")

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye and end the task, within about a second.

        What ended the task and is no error of ours, a listener's fault, is raised here.
        """
        self._closing = True
        try:
            if self._socket is not None:
                await hang_up(self._socket, code, reason)
        finally:
            self._socket = None
            await self._end_task()

    async def _end_task(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        # Cancelled while it said goodbye, it has forgotten what ended it.
        fault = self._fault if task.cancelled() else task.exception()
        if fault is not None:
            raise fault

    async def _run(self, socket: Socket) -> None:
        try:
            while True:
                try:
                    loss = await self._read(socket)
                finally:
                    self._let_be(socket)
                if self._closing:
                    return
                self._socket = None
                self._listener.went_down(loss)
                socket = await self._come_up(await self._dial_again(loss))
        except MegabotError as fault:
            self._listener.ended(fault)
        except Exception as fault:
            self._fault = fault
            self._listener.ended(ConnectionLost("The client ended by a fault of its own"))
            raise
        finally:
            if self._socket is not None and not self._closing:
                await hang_up(self._socket, CloseCode.GOING_AWAY)

    async def _come_up(self, dialed: Dialed) -> Socket:
        assert dialed.greeting is not None
        problem = self._form.problem(dialed.greeting.text.encode())
        if problem is not None:
            await hang_up(dialed.socket, CloseCode.POLICY_VIOLATION)
            raise UpstreamRefused(
                f"The greeting of {who_of(self._endpoint.address)} is not signed as it must be: "
                f"{problem}",
                "Both sides need the same key; integrity.require switches the demand off.",
            )
        self._socket = dialed.socket
        self._session_id = dialed.greeting.session_id
        self._listener.came_up(dialed.socket, dialed.greeting)
        self._divert(dialed.socket)
        return dialed.socket

    # -- dialling ----------------------------------------------------------------------

    async def _connect(self, refused: Credential | None) -> Dialed:
        """Dial with a valid credential; one that the upstream refuses is renewed once."""
        if refused is None:
            self._used = await self._tokens.current()
        else:
            self._used = await self._tokens.after_refusal(refused)
        try:
            return await self._dial()
        except NotAuthenticated as refusal:
            if self._used is None or refused is not None:
                raise
            try:
                self._used = await self._tokens.after_refusal(self._used)
            except NotAuthenticated:
                raise refusal from None  # it says why; that there is no other does not
        return await self._dial()

    async def _dial(self) -> Dialed:
        return await dial(
            self._http,
            self._endpoint,
            self._used,
            session_id=self._session_id,
            **self._dial_options,
        )

    async def _dial_again(self, loss: Loss) -> Dialed:
        """Follow the schedule. Raises what the connection ends with when it is given up."""
        fault: MegabotError | None = None
        refused = self._used if loss.code == CloseCode.CREDENTIAL_REFUSED else None
        while not loss.final:
            delay_s = self._attempts.next_delay_s(fault, random.random())  # noqa: S311
            if delay_s is None:
                break
            self._listener.retrying(self._attempts.count, delay_s)
            await asyncio.sleep(delay_s)
            try:
                return await self._connect(refused)
            except MegabotError as refusal:
                fault = refusal
        raise given_up(loss, fault, who_of(self._endpoint.address))

    # -- reading -----------------------------------------------------------------------

    async def _read(self, socket: Socket) -> Loss:
        """Take messages until the connection ends; say how it did."""
        began_at = time.monotonic()
        messages = 0
        while True:
            kind, data, extra = await socket.receive()
            if kind in _MESSAGES:
                try:
                    received = self._form.incoming(kind, data)
                except UnicodeDecodeError:
                    # RFC 6455, 8.1: text that is not UTF-8 fails the connection.
                    await hang_up(socket, CloseCode.INVALID_TEXT)
                    loss = Loss(CloseCode.INVALID_TEXT)
                except Overlong as fault:
                    await hang_up(socket, CloseCode.TOO_BIG, fault.message)
                    loss = Loss(CloseCode.TOO_BIG)
                else:
                    messages += 1
                    if received is not None:
                        self._listener.heard(received)
                    continue
            else:
                if self._listeners_fault is not None:
                    raise self._listeners_fault
                loss = _loss(socket, kind, data, extra)
            self._attempts.stood(time.monotonic() - began_at, messages)
            return loss


def _loss(socket: Socket, kind: aiohttp.WSMsgType, data: Any, extra: str | None) -> Loss:
    """Why nothing was received. aiohttp's own close_code says 1000 for a cut connection."""
    if kind is aiohttp.WSMsgType.CLOSE:
        return Loss(int(data), clean(extra or ""))
    if isinstance(data, aiohttp.WebSocketError):
        return Loss(int(data.code))
    no_pong = isinstance(socket.exception(), aiohttp.ServerTimeoutError)
    return Loss(1006, "no pong came" if no_pong else "")
