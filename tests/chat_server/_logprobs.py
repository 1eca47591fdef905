"""Log-probabilities of a reply: its text as tokens, with alternatives where a value stands."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from tests.chat_server import _judge
from tests.chat_server._behaviour import Behaviour
from tests.chat_server._shape import Checklist, Group, Pair, Single, Wanted, draw

_TOKEN = re.compile(r" ?[^\W\d_]+| ?\d+|[^\w\s]+|\s+|_+", re.DOTALL)
_MERGED = re.compile(r'(?:level|met|better)": ?"?\w+|' + _TOKEN.pattern, re.DOTALL)
_VALUE = re.compile(r'"(?:level": ?(\d+)|met": ?(true|false)|better": ?"(first|second|tie))')
_JUNK = {"null": 0.5, "N": 0.3, "5}": 0.2}
"""What has the rest of the mass, by share. A reader that takes the token "5}" for a 5 and what
follows it finds that share on the levels too."""
_LEAST = 1e-9
_MOST_SPLIT = 8


def spaced(wanted: Wanted, verdict: dict[str, Any]) -> str:
    """The reply as text, with a space after colons for half of the bodies."""
    if draw(wanted.key, "spaced") < 0.5:
        return json.dumps(verdict, ensure_ascii=False)
    return orjson.dumps(verdict).decode()


def expected_mass(body: _judge.Body, behaviour: Behaviour) -> float:
    """The probability of the tokens that are allowed values, where a level stands."""
    mass = behaviour.level_mass
    if behaviour.logprobs != "grammar":
        return mass
    return mass / (mass + (1 - mass) * _JUNK["null"]) if mass else 0.0


def logprobs_of(b: Behaviour, wanted: Wanted, text: str, attempt: int) -> dict[str, Any]:
    """The ``logprobs`` of a choice; the tokens joined are the text."""
    tables = _tables(b, wanted, attempt)
    starts = {}
    for found, (field, table) in zip(_VALUE.finditer(text), tables, strict=True):
        starts[found.start(found.lastindex or 0)] = (found[found.lastindex or 0], field, table)
    most = wanted.body.get("top_logprobs") or 0
    cut = _MERGED if b.logprobs == "merged" else _TOKEN
    content = []
    for found in cut.finditer(text):
        token = found[0]
        # A value may have a leading space in its token.
        value = starts.get(found.start() + token.startswith(" "))
        if value is None:
            alternatives = _ordinary(wanted.key, found.start(), token)
        else:
            alternatives = _alternatives(b, token, *value)
        content.append(_entry(token, alternatives, most))
    assert "".join(entry["token"] for entry in content) == text
    return {"content": content, "refusal": None}


def _tables(b: Behaviour, wanted: Wanted, attempt: int) -> list[tuple[str, dict[str, float]]]:
    """For every value of the reply, in its order: the name of its field, and its distribution."""
    shape = wanted.shape
    if isinstance(shape, Pair):
        return [("better", _judge.pair_distribution(b, wanted))]
    parts: tuple[tuple[str, Any], ...] = ()
    if isinstance(shape, Group):
        parts = shape.parts
    elif isinstance(shape, Single | Checklist):
        parts = ((wanted.criterion, shape),)
    tables: list[tuple[str, dict[str, float]]] = []
    for name, part in parts:
        if isinstance(part, Single):
            levels = _judge.level_distribution(b, wanted, name, part.levels, attempt)
            tables.append(("level", {str(level): p for level, p in levels.items()}))
        else:
            met = _judge.met_probability(b, wanted, name)
            tables += [("met", {"true": met, "false": 1 - met})] * part.items
    return tables


def _alternatives(
    b: Behaviour, token: str, value: str, field: str, table: dict[str, float]
) -> dict[str, float]:
    """Token to probability where a value stands.

    A small part of each level's mass is on the same digit with the other leading space.
    """
    mass = b.level_mass
    junk = {name: (1 - mass) * share for name, share in _JUNK.items()}
    if b.logprobs == "grammar":
        junk = {"null": junk["null"]}
    total = mass + sum(junk.values())
    lead = token.removesuffix(value)
    other = " " if lead == "" else ""
    split = 0.1 if field == "level" and len(table) <= _MOST_SPLIT else 0.0
    result: dict[str, float] = {}
    for name, probability in table.items():
        result[lead + name] = probability * mass * (1 - split) / total
        result[other + name] = probability * mass * split / total
    for name, probability in junk.items():
        result[lead + name] = result.get(lead + name, 0.0) + probability / total
    return result


def _ordinary(key: str, at: int, token: str) -> dict[str, float]:
    """A token of the text between values: likely, with one alternative."""
    probability = 0.9 + draw(key, at, "token") / 10
    return {token: probability, f"{token}~": 1 - probability}


def _entry(token: str, alternatives: dict[str, float], most: int) -> dict[str, Any]:
    shown = sorted(
        ((name, p) for name, p in alternatives.items() if p >= _LEAST), key=lambda pair: -pair[1]
    )
    rows = [_row(name, p) for name, p in shown[:most]]
    return {**_row(token, alternatives.get(token, 0.0)), "top_logprobs": rows}


def _row(token: str, probability: float) -> dict[str, Any]:
    return {
        "token": token,
        "logprob": math.log(probability) if probability > 0 else -9999.0,
        "bytes": list(token.encode()),
    }
