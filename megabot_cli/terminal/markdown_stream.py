"""Markdown in colour while it still comes: each character is written once, none taken back.

What cannot be told yet (half a marker) is held for a moment. Nothing is drawn twice, so an
answer of any length costs what it weighs, and nothing flickers.
"""

from __future__ import annotations

import re
from typing import Final

_RESET: Final = "\x1b[0m"
_BOLD: Final = "\x1b[1m"
_DIM: Final = "\x1b[2m"
_CODE: Final = "\x1b[36m"
_MARK: Final = re.compile(r"\n|`+|\*\*?")
_FENCE: Final = re.compile(r" {0,3}(?:```|~~~)[^\n]*\n")
_HEADING: Final = re.compile(r"#{1,6} +")
_BULLET: Final = re.compile(r"( *)[-*+] +")
# What may still become one of them when more comes.
_HALF: Final = re.compile(r" *(?:#{1,6} *|[-*+] *|`{1,2}|~{1,2}|(?:```|~~~)[^\n]*)?\Z")


class MarkdownStream:
    """Turns pieces of Markdown into text for a terminal.

    Headings are bold, code is coloured, `**bold**` is bold, bullets are round; their markers
    go. Everything else stays as it is.
    """

    def __init__(self) -> None:
        self._held = ""
        self._in_block = False
        self._at_start = True
        self._style = ""  # of the line: a heading
        self._bold = False
        self._code = ""  # the backticks that opened it

    def feed(self, text: str) -> str:
        """What can be written now that this has come too."""
        self._held += text
        return "".join(self._written(final=False))

    def end(self) -> str:
        """The rest, and the terminal as it was."""
        rest = "".join(self._written(final=True))
        left_on = self._bold or self._code or self._style or self._in_block
        self.__init__()  # type: ignore[misc]
        return rest + (_RESET if left_on else "")

    def _written(self, *, final: bool) -> list[str]:
        out: list[str] = []
        at, text = 0, self._held
        while at < len(text):
            if self._at_start:
                if not final and _HALF.match(text, at):
                    break
                at = self._begin_line(text, at, out)
            else:
                moved = self._go_on(text, at, out, final=final)
                if moved is None:
                    break
                at = moved
        self._held = text[at:]
        return out

    def _begin_line(self, text: str, at: int, out: list[str]) -> int:
        """Take the marker at the start of a line, if there is one."""
        if fence := _FENCE.match(text, at):
            self._in_block = not self._in_block
            out.append(f"{_DIM}{fence[0].rstrip()}{_RESET}\n" + (_CODE if self._in_block else ""))
            return fence.end()
        self._at_start = False
        if self._in_block:
            return at
        if heading := _HEADING.match(text, at):
            self._style = _BOLD
            out.append(_BOLD)
            return heading.end()
        if bullet := _BULLET.match(text, at):
            out.append(f"{bullet[1]}• ")
            return bullet.end()
        return at

    def _go_on(self, text: str, at: int, out: list[str], *, final: bool) -> int | None:
        """Take the words up to the next marker, and it; None when it is not all there yet."""
        mark = _MARK.search(text, at)
        if mark is None:
            out.append(text[at:])
            return len(text)
        if mark[0] != "\n" and mark.end() == len(text) and not final and mark[0] != "**":
            if mark.start() == at:
                return None
            out.append(text[at : mark.start()])
            return mark.start()
        out.append(text[at : mark.start()])
        out.append(self._meaning(mark[0]))
        return mark.end()

    def _meaning(self, mark: str) -> str:
        if mark == "\n":
            self._at_start = True
            return self._end_of_line()
        if self._in_block:
            return mark
        if self._code:
            if mark != self._code:
                return mark
            self._code = ""
            return self._styles()
        if mark[0] == "`":
            self._code = mark
            return _CODE
        if mark == "**":
            self._bold = not self._bold
            return self._styles()
        return mark

    def _end_of_line(self) -> str:
        """Styles end with the line, so that one marker left open colours no page."""
        was_on = self._bold or self._code or self._style
        self._bold, self._code, self._style = False, "", ""
        return f"{_RESET}\n" if was_on else "\n"

    def _styles(self) -> str:
        return _RESET + (_BOLD if self._bold or self._style else "")
