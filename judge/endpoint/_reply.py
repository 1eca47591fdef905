"""From the body of a chat response to what the model said and what it took."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple, TypeGuard

from judge.endpoint._faults import TransientFault
from judge.verdicts import Reply, Token


class Usage(NamedTuple):
    """Tokens that the server counted; None where it did not say."""

    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None


def read_reply(status_code: int, body: bytes) -> Reply:
    """What the model said, from a stored or fresh response body.

    An error response that ended its unit (status other than 200) gives a reply with its code.
    Raises TransientFault if the body is not a chat completion: a proxy's or a server's fault, not
    the model's.
    """
    envelope = _json(body)
    if status_code != 200:
        error = _mapping(envelope.get("error")) or envelope
        return Reply(text=None, finish_reason=None, error_code=final_error_code(error))
    choices = envelope.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise TransientFault("malformed", detail="a response without choices")
    text, refusal = message.get("content"), message.get("refusal")
    if not (text is None or isinstance(text, str)):
        raise TransientFault("malformed", detail="a response whose content is not text")
    finish_reason = choice.get("finish_reason")
    return Reply(
        text=text,
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        refusal=refusal if isinstance(refusal, str) else None,
        tokens=_tokens(choice),
    )


def _tokens(choice: dict[str, Any]) -> tuple[Token, ...] | None:
    """The tokens of a reply with their alternatives; None where the server gave none."""
    entries = _mapping(choice.get("logprobs")).get("content")
    if not isinstance(entries, list) or not entries:
        return None
    tokens = []
    for entry in map(_mapping, entries):
        text, raw = entry.get("token"), entry.get("bytes")
        listed = entry.get("top_logprobs")
        likeliest = [
            (other["token"], float(logprob))
            for other in map(_mapping, listed if isinstance(listed, list) else ())
            if isinstance(other.get("token"), str) and _is_number(logprob := other.get("logprob"))
        ]
        if not isinstance(text, str):
            return None
        chosen = entry.get("logprob")
        if _is_number(chosen) and all(other != text for other, _ in likeliest):
            likeliest.append((text, float(chosen)))
        try:
            content = bytes(raw) if isinstance(raw, list) else text.encode("utf-8", "replace")
        except (TypeError, ValueError):
            return None
        tokens.append(Token(content, tuple(likeliest)))
    return tuple(tokens)


def _is_number(value: object) -> TypeGuard[float]:
    """A log-probability that can be one; minus infinity is."""
    return isinstance(value, (int, float)) and not math.isnan(value) and value < math.inf


def read_usage(body: bytes) -> Usage:
    """Token counts of a response body, as far as the server gave them."""
    usage = _mapping(_json(body).get("usage"))
    details = _mapping(usage.get("prompt_tokens_details"))
    return Usage(
        _count(usage.get("prompt_tokens")),
        _count(details.get("cached_tokens")),
        _count(usage.get("completion_tokens")),
    )


def final_error_code(error: dict[str, Any]) -> str | None:
    """The code of an error that no retry mends and that concerns one prompt only, else None.

    vLLM gives no code for a prompt that is too long but names the parameter.
    """
    code = error.get("code")
    if code == "context_length_exceeded" or error.get("param") in ("input_tokens", "input_text"):
        return "context_length_exceeded"
    if code in ("content_filter", "content_policy_violation"):
        return "content_filter"
    return None


def _json(body: bytes) -> dict[str, Any]:
    """The object of a body; the standard parser, as it lets lone surrogates through to be seen."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise TransientFault("malformed", detail="a response that is not JSON") from None
    if not isinstance(value, dict):
        raise TransientFault("malformed", detail="a response that is not a JSON object")
    return value


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
