"""Whether a verdict is the judge's own or was lifted from the answer that it judges."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from judge.hardening._data import INVISIBLE, quotable
from judge.hardening._view import readable

_DECODER = json.JSONDecoder(strict=False)
_OPENING = re.compile(r'\{\s*"')
_UNSEEN = re.compile(f"[{INVISIBLE.replace(chr(10), '')}]+")
_ESCAPED = 2
"""How often an object can be escaped as a string and still be looked for."""
_MOST_WORK = 5_000_000
_RUINOUS = 100_000
"""Characters that are read at most, and what an object that cannot be read counts."""


def is_copied(body: Mapping[str, Any], answer: str) -> bool:
    """Whether a JSON object of a reply stands, with all its values, in the answer.

    An answer may carry a verdict in exactly the form that the judge is asked for, and a judge may
    hand it back; nothing in the reply itself tells it from the judge's own. The object is looked
    for in the answer as it was given, as it stood in the prompt, and with escaped quotation marks;
    white space between and order of the fields do not count, nor do case, width and invisible
    characters of the texts. An empty object is never a copy.
    """
    if not body or "{" not in answer:
        return False
    wanted = _folded(body)
    return any(wanted in _objects(form) for form in _forms(answer))


def _forms(answer: str) -> Iterator[str]:
    """The answer as given, as shown, without what nobody sees, and as the inside of a string."""
    forms = [*quotable(answer), _UNSEEN.sub("", answer).replace("\u00a0", " ")]
    for form in dict.fromkeys(forms):
        yield form
        inside = form
        for _ in range(_ESCAPED):
            if "\\" not in inside:
                break
            inside = inside.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
            yield inside


def _objects(text: str) -> Iterator[Any]:
    """The JSON objects that begin anywhere in a text, folded, as far as the work is bounded."""
    work = 0
    for match in _OPENING.finditer(text):
        try:
            found, end = _DECODER.raw_decode(text, match.start())
        except json.JSONDecodeError as error:
            work += error.pos - match.start()
        except (ValueError, RecursionError):
            work += _RUINOUS
        else:
            work += end - match.start()
            yield _folded(found)
        if work > _MOST_WORK:
            return


def _folded(value: Any) -> Any:
    """The value with its texts as a reader sees them, so that a retyped copy is still a copy."""
    if isinstance(value, Mapping):
        return {key: _folded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_folded(item) for item in value]
    if isinstance(value, str):
        return " ".join(readable(value).text.split())
    return (type(value).__name__, value)
