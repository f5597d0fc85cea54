"""Expressions as operators write them: each is read, or refused with the reason."""

from __future__ import annotations

import re
import warnings

import pytest

from megabot_cli.errors import BadConfiguration, WrongUsage
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.selection import Selection

_NONE = {
    "(": "missing )",
    "a{99999999999}": "the repetition number is too large",
    "(" * 3000 + ")" * 3000: "maximum recursion depth exceeded",
    "[[:digit:]]{4}": r"\d, \s and \w are known, but not [:digit:]",
    "[^[:space:]]": "but not [:space:]",
}


@pytest.mark.parametrize("text", _NONE)
def test_what_is_no_expression_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(WrongUsage, match=re.escape(_NONE[text])):
        Selection(grep=text).chooser()
    with pytest.raises(BadConfiguration, match=re.escape(_NONE[text])):
        Redactor(b"key", patterns=(text,))


def test_what_python_warns_of_is_looked_for_as_it_is() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("[[]", "[a||b]", "[[a]"):
            Selection(grep=text).chooser()
            Redactor(b"key", patterns=(text,))
