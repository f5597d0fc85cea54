"""The specification's messages, read from `specification/`."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "specification"

EXAMPLES = {
    file.stem: file.read_text()
    for file in sorted(_FOLDER.glob("*.json"))
    if "sent_by" not in file.stem
}
SENT_BY_SNIPPETS = {file.stem: file.read_text() for file in sorted(_FOLDER.glob("sent_by_*.json"))}
EVERYTHING = EXAMPLES | SENT_BY_SNIPPETS
