"""HAR files between Chromium's network panel and us, in both directions."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from urllib.parse import urlencode

from megabot_cli.storage.converting import write_har
from megabot_cli.storage.foreign import open_any
from tests.peers.devtools import LIMIT_S, open_devtools
from tests.peers.page_server import PageServer
from tests.peers.programs import needs
from tests.peers.stage import ANSWER, QUESTION, Stage


@needs("chromium")
async def test_what_the_network_panel_exports_opens_as_a_recording(
    stage: Stage, pages: PageServer, tmp_path: Path
) -> None:
    query = urlencode({"url": stage.gateway_url_with_token, "say": QUESTION})
    async with open_devtools(stage.processes, tmp_path) as devtools:
        await devtools.page.call("Page.navigate", url=f"{pages.origin}/chat.html?{query}")
        report = await asyncio.to_thread(pages.reports.get, timeout=LIMIT_S)
        exported = await devtools.export_har()
    token = stage.gateway_url_with_token.partition("token=")[2]
    assert token
    assert token in exported
    (tmp_path / "page.har").write_text(exported, encoding="utf-8")
    output = io.BytesIO()
    with open_any(tmp_path / "page.har") as reader:
        records = [record for record in reader if record.kind == "message"]
    with open_any(tmp_path / "page.har") as reader:
        write_har(reader, reader.lines(), output.write)
    assert token.encode() not in output.getvalue()
    heard = [record for record in records if record.direction == "to_client"]
    assert [record.type for record in heard][: len(report["seen"])] == report["seen"]
    (asked,) = [record for record in records if record.type == "chat_send"]
    assert json.loads(asked.data or "")["payload"]["content"] == QUESTION
    chunks = [
        json.loads(each.data or "")["payload"] for each in heard if each.type == "chat_stream"
    ]
    assert "".join(chunk["chunk"] for chunk in chunks) == ANSWER


@needs("chromium")
async def test_what_we_write_shows_in_the_network_panel(stage: Stage, tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"
    output = io.BytesIO()
    with open_any(golden) as reader:
        write_har(reader, reader.lines(), output.write)
    with open_any(golden) as reader:
        said = [
            (record.data_b64 or record.data or "", record.t)
            for record in reader
            if record.kind in ("message", "inject")
        ]
    async with open_devtools(stage.processes, tmp_path) as devtools:
        requests = await devtools.import_har(output.getvalue().decode())
    assert requests[0]["url"].startswith("wss://api.example/ws")
    frames = sorted((each for request in requests for each in request["frames"]), key=_time)
    assert sorted(text for _, _, _, text in frames) == sorted(text for text, _ in said)
    for kind, at, opcode, text in frames:
        assert (opcode, kind) in ((1, "send"), (1, "receive"), (2, "receive"))
        began = 1763871129.123456  # 2025-11-23T04:12:09.123456Z
        assert any(text == each and abs(at - began - t / 1e6) < 1e-5 for each, t in said)


def _time(frame: list[float]) -> float:
    return frame[1]
