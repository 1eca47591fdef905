"""The expectation of a level over the judge's own probabilities, from token log-probabilities.

For the level token of a reply with the probabilities P(s) of the levels s, the score is
sum_s score(s) P(s) / sum_s P(s), and sum_s P(s) is the allowed mass. The mean of the distribution
agrees with people better than its mode (arXiv 2303.16634, 2503.03064).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace

from judge.records import Reason, ScoreKind, Status
from judge.rubric import Criterion
from judge.verdicts import Parsed, Reply, Token

LEAST_ALLOWED_MASS = 0.9
"""Below this probability of all levels together, the reply says too little about them."""
ALTERNATIVES = 20
"""How many of the likeliest tokens are asked for: the most that common servers give."""

_LEVEL = re.compile(r"\s*([0-9])\s*[,}]?\s*")
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"\s*")


def expected(
    parsed: Parsed, reply: Reply, criterion: Criterion, path: Sequence[str], kind: ScoreKind
) -> Parsed:
    """A scored verdict with the level replaced by its expectation.

    ``path`` leads from the reply's object to the level, e.g. ("level",). ``level`` becomes the
    expected level, ``score`` the expected score, ``sd`` the standard deviation of the score under
    the distribution. With less than `LEAST_ALLOWED_MASS` on the levels, or where the tokens cannot
    be matched to the text, the verdict is unscored.
    """
    if parsed.status is not Status.SCORED:
        return replace(parsed, kind=kind)
    if reply.tokens is None:
        return _unscored(
            parsed, kind, Reason.INVALID, "the reply came without log-probabilities", None
        )
    alternatives = _alternatives(reply.text or "", reply.tokens, path)
    if alternatives is None:
        return _unscored(parsed, kind, Reason.INVALID, "the tokens do not spell the reply", None)
    masses: dict[int, float] = {}
    for text, logprob in alternatives:
        found = _LEVEL.fullmatch(text)
        if found and criterion.score(int(found[1])) is not None:
            masses[int(found[1])] = masses.get(int(found[1]), 0.0) + math.exp(min(logprob, 0.0))
    total = math.fsum(masses.values())
    allowed = min(total, 1.0)
    if not allowed >= LEAST_ALLOWED_MASS:
        detail = f"{allowed:.3f} of the probability is on levels, {LEAST_ALLOWED_MASS} is needed"
        return _unscored(parsed, kind, Reason.LOW_ALLOWED_MASS, detail, allowed)
    shares = {level: mass / total for level, mass in masses.items()}
    scores = {level: criterion.score(level) or 0.0 for level in shares}
    mean = math.fsum(share * scores[level] for level, share in shares.items())
    variance = math.fsum(share * (scores[level] - mean) ** 2 for level, share in shares.items())
    return replace(
        parsed,
        kind=kind,
        level=math.fsum(share * level for level, share in shares.items()),
        score=min(max(mean, 0.0), 1.0),
        sd=math.sqrt(variance),
        allowed_mass=allowed,
    )


def _unscored(
    parsed: Parsed, kind: ScoreKind, reason: Reason, detail: str, allowed: float | None
) -> Parsed:
    return Parsed(
        status=Status.UNSCORED,
        reason=reason,
        rationale=parsed.rationale,
        detail=detail,
        kind=kind,
        allowed_mass=allowed,
    )


def _alternatives(
    text: str, tokens: Sequence[Token], path: Sequence[str]
) -> list[tuple[str, float]] | None:
    """The likeliest texts at the place of the value at ``path``, each from that place on.

    None where the tokens do not spell the text, or none of them holds the value's first character.
    """
    wanted = len(text[: value_offset(text, path)].encode())
    if not b"".join(token.content for token in tokens).startswith(text.encode()):
        return None
    start = 0
    for token in tokens:
        if start + len(token.content) > wanted:
            before = token.content[: wanted - start].decode("utf-8", "replace")
            return [
                (shown.removeprefix(before), logprob)
                for shown, logprob in token.likeliest
                if shown.startswith(before) or not before.strip()
            ]
        start += len(token.content)
    return None


def value_offset(text: str, path: Sequence[str]) -> int:
    """Where in a reply's text the value at a path of field names begins.

    The text holds one JSON object, alone or in a code fence, as the strict parser accepts it.
    Raises ValueError if it does not lead there.
    """
    at = text.index("{")
    for name in path:
        at = _after_space(text, at + 1)
        while True:
            key, at = _DECODER.raw_decode(text, at)
            at = _after_space(text, _after_space(text, at) + 1)
            if key == name:
                break
            _, at = _DECODER.raw_decode(text, at)
            at = _after_space(text, at)
            if text[at : at + 1] != ",":
                raise ValueError(f"no field {name}")
            at = _after_space(text, at + 1)
    return at


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
