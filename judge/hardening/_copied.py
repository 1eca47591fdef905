"""Whether a verdict is the judge's own or was lifted from the answer that it judges."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from judge.hardening._data import quotable
from judge.hardening._view import readable

_DECODER = json.JSONDecoder(strict=False)


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
    names = "|".join(map(re.escape, body))
    opening = re.compile(rf'\{{\s*"(?:{names})"')
    for form in {*quotable(answer), answer.replace('\\"', '"')}:
        for match in opening.finditer(form):
            try:
                found, _ = _DECODER.raw_decode(form, match.start())
            except (ValueError, RecursionError):
                continue  # an object that is broken or too deep cannot be read as a verdict either
            if _folded(found) == wanted:
                return True
    return False


def _folded(value: Any) -> Any:
    """The value with its texts as a reader sees them, so that a retyped copy is still a copy."""
    if isinstance(value, Mapping):
        return {key: _folded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_folded(item) for item in value]
    if isinstance(value, str):
        return " ".join(readable(value).text.split())
    return (type(value).__name__, value)
