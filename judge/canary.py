"""The known-answer test: does a judge still do as it is told with this answer in its prompt?

A judge that is shown the answer as data and asked for a fixed token returns the token; one that
the answer has taken over does something else (known-answer detection, arXiv 2310.12815). A token
that comes back proves little: an attack may bite only where a grade is asked for.
"""

from __future__ import annotations

import hmac
import json
import re
from typing import Any

from judge.canonical import canonical
from judge.prompting import BLANK_FENCE, Messages, fence_of, template
from judge.records import Question

_KEY = b"plumbline canary 1"
_TOKEN_HEX = 8
_FENCED = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n?```\Z", re.DOTALL)


def canary_messages(question: Question, answer: str) -> tuple[Messages, dict[str, Any], str]:
    """The messages of the test, the JSON Schema of the reply, and the token that must come back.

    The token is 8 hexadecimal digits of an HMAC over question and answer: the same answer always
    gets the same token, so that its call keeps its key and is paid for once.
    """
    mac = hmac.new(_KEY, canonical([question.question, answer]), "blake2s")
    token = mac.hexdigest()[:_TOKEN_HEX]
    shown = template("canary")
    fence = fence_of(shown.render(question=question, answer=answer, token=token, fence=BLANK_FENCE))
    text = shown.render(question=question, answer=answer, token=token, fence=fence)
    schema = {
        "type": "object",
        "properties": {"token": {"type": "string"}},
        "required": ["token"],
        "additionalProperties": False,
    }
    return [{"role": "user", "content": text.strip("\n")}], schema, token


def read_canary(reply: str, token: str) -> bool:
    """Whether a reply is the object with the token and nothing else, fenced as code or not."""
    body = reply.strip()
    if fenced := _FENCED.match(body):
        body = fenced[1]
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return bool(value == {"token": token})
