"""The demo's corpus: three families of synthetic conversations, with planted faults.

Every text is put together from parts that were written for this purpose: synthetic data that shows
the path, and no model's or person's words. A share of the rows carries what a blend has to deal
with: personal data, copies, near-copies, test questions, broken encodings, wrong languages.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

Turns = list[tuple[str, str]]
"""(role, text) of every turn."""


@cache
def _texts() -> dict[str, Any]:
    """The parts that conversations are put together from."""
    from ruamel.yaml import YAML

    parts: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("texts.yaml"))
    return parts


def _one_of(name: str, draw: random.Random) -> str:
    """One of the parts of a kind."""
    return str(draw.choice(_texts()[name]))


def public_qa(draw: random.Random) -> Turns:
    """A general question with an explanation of a few sentences."""
    thing = _one_of("things", draw)
    audience = draw.choice(("a child", "a friend", "an apprentice", "a visitor", "my class"))
    question = draw.choice(
        (
            f"How would you explain {thing} to {audience} of {draw.randint(6, 90)}?",
            f"I have {draw.randint(2, 59)} minutes to tell {audience} about {thing}. Any advice?",
            f"What should {audience} know about {thing}, in {draw.randint(3, 40)} words or more?",
        )
    )
    facts = draw.sample(_texts()["facts"], draw.randint(3, 9))
    answer = f"Begin with {thing} itself. " + " ".join(facts)
    return [("user", question), ("assistant", answer)]


def business_qa(draw: random.Random) -> Turns:
    """A support conversation of one to three exchanges, in English or Chinese."""
    if draw.random() < 0.4:
        return _business_zh(draw)
    product, market = _one_of("products", draw), _one_of("markets", draw)
    turns = [
        (
            "user",
            f"My {product} for {market}, number {draw.randint(1000, 99999)}, "
            f"{_one_of('problems', draw)}. What can I do?",
        ),
        ("assistant", _steps(draw, _texts()["openings"], _texts()["steps"], " ")),
    ]
    for _ in range(draw.choice((0, 0, 1, 2))):
        turns += [
            ("user", f"I did that for {_one_of('markets', draw)} as well, and now it "
                     f"{_one_of('problems', draw)}."),
            ("assistant", _steps(draw, _texts()["openings"], _texts()["steps"], " ")),
        ]  # fmt: skip
    return turns


def _business_zh(draw: random.Random) -> Turns:
    question = (
        f"我的{_one_of('products_zh', draw)}（编号{draw.randint(1000, 99999)}）"
        f"{_one_of('problems_zh', draw)}，应该怎么办？"
    )
    return [
        ("user", question),
        ("assistant", _steps(draw, _texts()["openings_zh"], _texts()["steps_zh"], "")),
    ]


def _steps(draw: random.Random, openings: tuple[str, ...], steps: tuple[str, ...], gap: str) -> str:
    return gap.join([draw.choice(openings), *draw.sample(steps, draw.randint(3, 8))])


def alignment(draw: random.Random) -> Turns:
    """A translation between two of four languages, of a few sentences."""
    phrases = draw.sample(_texts()["phrases"], draw.randint(3, 7))
    origin, goal = draw.sample(list(phrases[0]), 2)
    numbers = [draw.randint(2, 28) for _ in phrases]
    said, translated = (
        ("" if tongue == "Chinese" else " ").join(
            phrase[tongue].format(n=n) for phrase, n in zip(phrases, numbers, strict=True)
        )
        for tongue in (origin, goal)
    )
    return [("user", f"Translate into {goal}: {said}"), ("assistant", translated)]


FAMILIES: dict[str, Callable[[random.Random], Turns]] = {
    "public-qa": public_qa,
    "business-qa": business_qa,
    "alignment": alignment,
}


def conversations(family: str, rows: int, seed: int) -> Iterator[Turns]:
    """``rows`` clean conversations of a family, the same for the same seed."""
    draw = random.Random(f"{seed}/{family}")  # noqa: S311 - data for a demo, no secret
    for _ in range(rows):
        yield FAMILIES[family](draw)


def record(family: str, turns: Turns) -> dict[str, Any]:
    """A conversation in the format that its family is delivered in."""
    if family == "public-qa":
        return {"instruction": turns[0][1], "input": "", "output": turns[1][1]}
    if family == "business-qa":
        return {"messages": [{"role": role, "content": text} for role, text in turns]}
    names = {"user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[role], "value": text} for role, text in turns]}
