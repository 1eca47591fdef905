"""What a good reply says: pure functions of the request body and of the plants of a `Behaviour`.

Without plants and without a truth in the answer, levels are hashes of the body. Otherwise the judge
is scripted, and what it does is known exactly. Of an answer a on criterion c:

    truth(a, c)   = x of a tag [[truth.c=x]] in the answer, else of [[truth=x]], else a hash of
                    answer and criterion, uniform on [0, 1)
    mixed(a, c)   = (1 - halo) truth(a, c) + halo mean over the criteria of the call (one: truth)
    merit(a, c)   = mixed(a, c) + length_bias ln(length / 500) + the sum of keyword_bias over the
                    keywords that the answer contains, in any case; length is in characters, at
                    least 1, without tags and outer white space
    quality(a, c) = merit + level_order_bias (+1 if levels are listed descending, else -1)
                    + criterion_order_bias (1/2 - i / (k - 1)), c being the i-th of k > 1 criteria

With n levels and x = (n - 1) clip(quality, 0, 1), the level has the distribution
(1 - noise) {floor x: 1 - frac x, floor x + 1: frac x} + noise Binomial(n - 1, x / (n - 1)) on the
ranks of the levels: its mean is exactly x. The level of a reply is drawn from it with a number that
depends on the body alone (``resample``: and on the attempt). An item of a checklist is met with
probability clip(quality, 0, 1).

Of two answers: d = merit(first) - merit(second) + pair_offset + pair_noise logit(u), u uniform.
A share |pair_first_bias| of bodies gets "first" (if it is negative, "second") whatever the answers
say; the others get "tie" where |d| <= pair_tie, and else the better one. Pairs are judged so even
without plants: then the order of the answers does not matter.
"""

from __future__ import annotations

import math
import re
from hashlib import sha256
from typing import Any

import orjson

from tests.chat_server._behaviour import Behaviour, has_plants
from tests.chat_server._shape import (
    DEFAULT_LEVELS,
    Checklist,
    Group,
    Single,
    Wanted,
    canonical_key,
    draw,
)

_TAG = re.compile(r"\[\[truth(?:\.(\w+))?=([0-9.]+)\]\]")
_PLAIN_LENGTH = 500
_MET = 0.6
Body = dict[str, Any] | bytes


def body_key(body: Body) -> str:
    """The key under which the server counts a request body, whatever the order of its names."""
    return canonical_key(orjson.loads(body) if isinstance(body, bytes) else body)


def wanted_of(body: Body) -> Wanted:
    """A body as the judge sees it."""
    return Wanted(orjson.loads(body) if isinstance(body, bytes) else body)


def expected_level(body: Body, behaviour: Behaviour | None = None) -> int:
    """The level that every good verdict on this request body gives; of a group, its first."""
    return next(iter(expected_levels(body, behaviour).values()))


def expected_levels(body: Body, behaviour: Behaviour | None = None) -> dict[str, int]:
    """Criterion to level, in the order of the reply; the prompt's word for a single criterion."""
    wanted, behaviour = wanted_of(body), behaviour or Behaviour()
    return {
        name: level_of(behaviour, wanted, name, levels) for name, levels in scales(wanted).items()
    }


def expected_items(body: Body, behaviour: Behaviour | None = None) -> list[bool]:
    """Which items of a (first) checklist are met."""
    wanted, behaviour = wanted_of(body), behaviour or Behaviour()
    parts = wanted.shape.parts if isinstance(wanted.shape, Group) else ()
    for name, part in parts or ((wanted.criterion, wanted.shape),):
        if isinstance(part, Checklist):
            return [met(behaviour, wanted, name, number) for number in range(1, part.items + 1)]
    raise ValueError("the body asks for no checklist")


def expected_pair(body: Body, behaviour: Behaviour | None = None) -> str:
    """ "first", "second" or "tie"."""
    return better_of(behaviour or Behaviour(), wanted_of(body))


def expected_distribution(
    body: Body, criterion: str | None = None, behaviour: Behaviour | None = None
) -> dict[int, float]:
    """Level to probability, of one criterion (None: the first); sums to 1.

    It is what the log-probabilities of a reply say once they are normalised over the levels.
    """
    wanted = wanted_of(body)
    known = scales(wanted)
    name = next(iter(known)) if criterion is None or len(known) == 1 else criterion
    return level_distribution(behaviour or Behaviour(), wanted, name, known[name])


def expected_pair_distribution(body: Body, behaviour: Behaviour | None = None) -> dict[str, float]:
    """Probabilities of first, second and tie, over the draws of noise and of the share of bias."""
    return pair_distribution(behaviour or Behaviour(), wanted_of(body))


def fault_target(body: Body) -> str:
    """The criterion of a group, or the item of a checklist, that a content fault hits."""
    return target_of(wanted_of(body))


def target_of(wanted: Wanted) -> str:
    """As `fault_target`; "" where there is only one thing to hit."""
    names: tuple[str, ...] = ()
    if isinstance(wanted.shape, Group):
        names = wanted.criteria
    elif isinstance(wanted.shape, Checklist):
        names = tuple(f"item_{number}" for number in range(1, wanted.shape.items + 1))
    return names[int(draw(wanted.key, "target") * len(names))] if names else ""


def scales(wanted: Wanted) -> dict[str, tuple[int, ...]]:
    """The levels of each criterion that gets one."""
    shape = wanted.shape
    if isinstance(shape, Group):
        return {name: part.levels for name, part in shape.parts if isinstance(part, Single)}
    return {wanted.criterion: shape.levels if isinstance(shape, Single) else DEFAULT_LEVELS}


def drawing_key(b: Behaviour, wanted: Wanted, attempt: int) -> str:
    """What the values of a reply are drawn from."""
    if attempt and b.resample:
        return sha256(f"{wanted.key}/{attempt}".encode()).hexdigest()
    return wanted.key


def _scripted(b: Behaviour, wanted: Wanted) -> bool:
    return has_plants(b) or "[[truth" in wanted.prompt


def _hash_rank(wanted: Wanted, key: str, criterion: str, count: int) -> int:
    if isinstance(wanted.shape, Group):
        return int(draw(key, criterion, "level") * count)
    return int(key[:12], 16) % count


def level_of(
    b: Behaviour, wanted: Wanted, criterion: str, levels: tuple[int, ...], attempt: int = 0
) -> int:
    """The level of a good verdict."""
    key = drawing_key(b, wanted, attempt)
    if not _scripted(b, wanted):
        return levels[_hash_rank(wanted, key, criterion, len(levels))]
    remaining = draw(key, criterion, "level")
    distribution = level_distribution(b, wanted, criterion, levels)
    for level, probability in distribution.items():
        if remaining < probability:
            return level
        remaining -= probability
    return max(distribution, key=lambda level: (distribution[level], level))


def level_distribution(
    b: Behaviour, wanted: Wanted, criterion: str, levels: tuple[int, ...], attempt: int = 0
) -> dict[int, float]:
    """The distribution that the level is drawn from; without plants one around that level."""
    top = len(levels) - 1
    if not _scripted(b, wanted):
        key = drawing_key(b, wanted, attempt)
        mode = _hash_rank(wanted, key, criterion, len(levels))
        weights = [
            2.0 ** -abs(rank - mode) * (0.75 + draw(key, criterion, "weight", rank) / 2)
            for rank in range(top + 1)
        ]
        return {level: weight / sum(weights) for level, weight in zip(levels, weights, strict=True)}
    share = min(max(quality(b, wanted, criterion), 0.0), 1.0)
    low = math.floor(share * top)
    part = share * top - low
    result = {}
    for rank, level in enumerate(levels):
        rounded = (1 - part) * (rank == low) + part * (rank == low + 1)
        spread = math.comb(top, rank) * share**rank * (1 - share) ** (top - rank)
        result[level] = (1 - b.noise) * rounded + b.noise * spread
    return result


def met_probability(b: Behaviour, wanted: Wanted, criterion: str) -> float:
    """How likely an item of a checklist is met."""
    if not _scripted(b, wanted):
        return _MET
    return min(max(quality(b, wanted, criterion), 0.0), 1.0)


def met(b: Behaviour, wanted: Wanted, criterion: str, item: int, attempt: int = 0) -> bool:
    """Whether an item is met."""
    key = drawing_key(b, wanted, attempt)
    return draw(key, criterion, "item", item) < met_probability(b, wanted, criterion)


def truth(answer: str, criterion: str) -> float:
    """The planted quality of an answer, or its hash; see the top of this module."""
    tags = {name: float(value) for name, value in _TAG.findall(answer)}
    if (tag := tags.get(criterion, tags.get(""))) is not None:
        return tag
    return draw("truth", answer, criterion)


def _leaning(b: Behaviour, answer: str) -> float:
    """What length and keywords add to an answer."""
    added = 0.0
    if b.length_bias:
        length = max(1, len(_TAG.sub("", answer).strip()))
        added += b.length_bias * math.log(length / _PLAIN_LENGTH)
    if b.keyword_bias:
        lowered = answer.lower()
        added += sum(bias for word, bias in b.keyword_bias.items() if word.lower() in lowered)
    return added


def quality(b: Behaviour, wanted: Wanted, criterion: str) -> float:
    """The quality that the judge sees; may leave [0, 1]."""
    answer, criteria = wanted.marked.get("ANSWER", ""), wanted.criteria
    own = truth(answer, criterion)
    order = 0.0
    if len(criteria) > 1:
        others = [truth(answer, name) for name in criteria]
        own = (1 - b.halo) * own + b.halo * sum(others) / len(others)
        order = b.criterion_order_bias * (0.5 - criteria.index(criterion) / (len(criteria) - 1))
    listing = b.level_order_bias * (1 if wanted.descending else -1)
    return own + _leaning(b, answer) + listing + order


def _difference(b: Behaviour, wanted: Wanted) -> float:
    first, second = (wanted.marked.get(f"{name}_ANSWER", "") for name in ("FIRST", "SECOND"))
    merits = [truth(text, wanted.criterion) + _leaning(b, text) for text in (first, second)]
    return merits[0] - merits[1] + b.pair_offset


def better_of(b: Behaviour, wanted: Wanted, attempt: int = 0) -> str:
    """Which answer of a pair a good verdict calls better."""
    key = drawing_key(b, wanted, attempt)
    if draw(key, "pair bias") < abs(b.pair_first_bias):
        return "first" if b.pair_first_bias > 0 else "second"
    difference = _difference(b, wanted)
    if b.pair_noise:
        u = min(max(draw(key, "pair noise"), 1e-12), 1 - 1e-12)
        difference += b.pair_noise * math.log(u / (1 - u))
    if abs(difference) <= b.pair_tie:
        return "tie"
    return "first" if difference > 0 else "second"


def pair_distribution(b: Behaviour, wanted: Wanted) -> dict[str, float]:
    """As `expected_pair_distribution`."""
    d = _difference(b, wanted)
    if b.pair_noise:
        first = _logistic((d - b.pair_tie) / b.pair_noise)
        second = _logistic((-d - b.pair_tie) / b.pair_noise)
    else:
        first, second = float(d > b.pair_tie), float(-d > b.pair_tie)
    honest = {"first": first, "second": second, "tie": 1 - first - second}
    favourite = "first" if b.pair_first_bias > 0 else "second"
    share = abs(b.pair_first_bias)
    return {
        name: (1 - share) * probability + share * (name == favourite)
        for name, probability in honest.items()
    }


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
