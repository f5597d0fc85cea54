"""The code behind Chromium's network panel, driven from outside: it writes and reads HAR files.

A second tab shows the developer tools of the first; what the panel's own `Export HAR` and
`Import HAR` run is called there.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.peers.programs import chromium
from tests.support.processes import Processes

LIMIT_S = 30.0

_ATTACHED = """(async () => {
  const {TargetManager} = (await import('./core/sdk/sdk.js')).TargetManager;
  await import('./models/logs/logs.js');
  await import('./models/har/har.js');
  return TargetManager.instance().primaryPageTarget() !== null;
})()"""

_EXPORT = """(async () => {
  const {NetworkLog} = await import('./models/logs/logs.js');
  const {Writer} = await import('./models/har/har.js');
  let written = '';
  const stream = {write: async piece => { written += piece; }, close: async () => {}};
  const progress = {canceled: false};
  for (const name of ['setTitle', 'setTotalWork', 'setWorked', 'incrementWorked']) {
    progress[name] = () => {};
  }
  await Writer.Writer.write(stream, NetworkLog.NetworkLog.instance().requests(),
                            {sanitize: false}, progress);
  return written;
})()"""

_IMPORT = """(async text => {
  const {HARFormat, Importer} = await import('./models/har/har.js');
  const log = new HARFormat.HARRoot(JSON.parse(text)).log;
  return Importer.Importer.requestsFromHARLog(log).map(request => ({
    url: request.url(),
    frames: request.frames().map(frame => [frame.type, frame.time, frame.opCode, frame.text]),
  }));
})"""


class Tab:
    """One tab, asked over the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(LIMIT_S):
            while (answer := await self._socket.receive_json()).get("id") != number:
                continue
        assert "error" not in answer, answer
        return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            said = answer["exceptionDetails"]["exception"].get("description", "")
            raise LookupError(said)
        return answer["result"].get("value")


class DevTools:
    """A page, and the tools that watch it."""

    def __init__(self, page: Tab, tools: Tab) -> None:
        self.page = page
        self._tools = tools

    async def attach(self) -> None:
        """Wait until the tools see the page. Skips the test where they are built otherwise."""
        deadline = time.monotonic() + LIMIT_S
        fault: Exception | None = None
        while time.monotonic() < deadline:
            try:
                if await self._tools.evaluate(_ATTACHED):
                    return
            except LookupError as not_yet:
                fault = not_yet
            await asyncio.sleep(0.1)
        pytest.skip(f"the developer tools of this Chromium cannot be reached: {fault}")

    async def export_har(self) -> str:
        text: str = await self._tools.evaluate(_EXPORT)
        return text

    async def import_har(self, text: str) -> list[dict[str, Any]]:
        requests: list[dict[str, Any]] = await self._tools.evaluate(
            f"{_IMPORT}({json.dumps(text)})"
        )
        return requests


@asynccontextmanager
async def open_devtools(processes: Processes, folder: Path) -> AsyncIterator[DevTools]:
    command = chromium(
        "about:blank", folder / "profile", "--remote-debugging-port=0", "--remote-allow-origins=*"
    )
    browser = processes.start("chromium", command)
    try:
        said = browser.wait_for_line("DevTools listening on ws://", LIMIT_S)
        found = re.search(r"ws://([^/]+)/", said)
        assert found is not None
        async with aiohttp.ClientSession(f"http://{found[1]}") as http:
            page = await _new_tab(http, "about:blank")
            watched = page["webSocketDebuggerUrl"].removeprefix("ws://")
            tools = await _new_tab(
                http, f"http://{found[1]}/devtools/devtools_app.html?ws={watched}&panel=network"
            )
            tabs = [
                await http.ws_connect(each["webSocketDebuggerUrl"], max_msg_size=0)
                for each in (page, tools)
            ]
            devtools = DevTools(*map(Tab, tabs))
            await devtools.attach()
            yield devtools
            for tab in tabs:
                await tab.close()
    finally:
        browser.end()


async def _new_tab(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with http.put(f"/json/new?{quote(url, safe=':/?=&')}") as answer:
        tab: dict[str, Any] = await answer.json()
        return tab
