"""A small but nasty report, and a tree in which to look at its page.

Hostile texts, Chinese, and every way in which a verdict can be missing. Values and intervals are
written by hand; counts follow from the verdicts below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

CAREFUL = "careful-7b"
HASTY = 'hasty "7b" <b>&'
MODELS = [CAREFUL, HASTY]
CRITERIA = ["clarity", "accuracy", "safety"]

HOSTILE = (
    "</script><script>alert(1)</script> <img src=x onerror=alert(2)> "
    "</div></details><!-- <style>body{display:none} ]]> \"'><a href='http://evil.example'>x</a> "
    "{{ 7 * 7 }} {% raw %} NUL\x00 bell\x07 lone\ud800 "
    "override \u202egnp.exe\u202c isolate \u2067x\u2069 tag\U000e0041 " + "w" * 10_000
)
PANDA = "大熊猫是中国特有的动物。\n\n它  几乎只吃竹子，\n喜欢独居。"
PRIMES = "The primes are:\n\n  2, 3,\n  5 and 7.   That makes four.\n"

INTERVALS: dict[tuple[str, str], tuple[float, float, float] | None] = {
    (CAREFUL, "overall"): (0.712, 0.661, 0.753),
    (CAREFUL, "clarity"): (0.812, 0.761, 0.853),
    (CAREFUL, "accuracy"): (0.5, 0.25, 0.75),
    (CAREFUL, "safety"): (1.0, 1.0, 1.0),
    (HASTY, "overall"): (0.9, 0.8, 1.0),
    (HASTY, "clarity"): (0.0, 0.0, 0.125),
    (HASTY, "accuracy"): (0.8, 0.7, 0.85),
    (HASTY, "safety"): None,
}
"""Value, low and high; None where nothing was scored. The second model has the higher overall."""


def report(*, offline: bool = False) -> dict[str, Any]:
    """The report, freshly built; ``offline`` says that the baseline judged demo answers."""
    questions = _questions()
    verdicts = [v for q in questions for a in q["answers"] for v in a["verdicts"]]
    statuses = Counter(v["status"] for v in verdicts)
    return {
        "report": {
            "title": "Nasty <i>report</i>",
            "generated_at": "2026-11-21T00:40:12+00:00",
            "plumbline_version": "0.1.0",
        },
        "run": {
            "run": "20261121T003012-a1b2c3",
            "started_at": "2026-11-21T01:30:12.123+01:00",
            "judge": "offline" if offline else "openai:judge-1",
            "offline": offline,
            "mode": "per-criterion",
            "rubric": "communication",
            "rubric_version": 1,
            "weights": "equal",
            "stage": None if offline else "release",
            "samples": 3,
            "occasion": "",
            "planned": len(verdicts),
            "scored": statuses["scored"],
            "not_applicable": statuses["not_applicable"],
            "unscored": dict(Counter(v["reason"] for v in verdicts if v["reason"])),
            "open": statuses["open"],
            "repaired": 1,
            "tokens": None if offline else {"prompt": 12345, "cached": 0, "completion": 678},
            "cost": 0.0 if offline else None,
            "rulers": {criterion: f"{criterion}0123456789abcdef" for criterion in CRITERIA},
        },
        "demo": offline,
        "notes": ["Accuracy does not apply to interactive questions <sic>."],
        "criteria": [
            {
                "criterion": criterion,
                "name": criterion.capitalize(),
                "definition": f"What {criterion} asks.",
                "priority": "P0" if criterion == "safety" else "P1",
                "weight": 1 / 3,
                "levels": [
                    {"level": n, "description": f"{criterion} seen {n} times", "score": n / 5}
                    for n in range(6)
                ],
            }
            for criterion in CRITERIA
        ],
        "models": list(MODELS),
        "estimates": [
            _estimate(model, criterion, questions)
            for model in MODELS
            for criterion in ["overall", *CRITERIA]
        ],
        "groups": [
            {**_estimate(model, "overall", questions), "by": by, "group": group}
            for by, groups in (("domain", ["general"]), ("category", ["interactive", "知识"]))
            for group in groups
            for model in MODELS
        ],
        "questions": questions,
    }


def _estimate(model: str, criterion: str, questions: list[dict[str, Any]]) -> dict[str, Any]:
    answers = [a for q in questions for a in q["answers"] if a["model"] == model]
    found = [v for a in answers for v in a["verdicts"] if v["criterion"] == criterion]
    statuses = Counter(v["status"] for v in found)
    scored, wanted = statuses["scored"], len(found) - statuses["not_applicable"]
    if criterion == "overall":
        scored, wanted = sum(a["overall"] is not None for a in answers), len(answers)
    value, low, high = INTERVALS[model, criterion] or (None, None, None)
    return {
        "model": model,
        "criterion": criterion,
        "value": value,
        "low": low,
        "high": high,
        "confidence": 0.95,
        "method": "cluster_bootstrap",
        "estimand": "population",
        "n_questions": scored,
        "n_answers": scored,
        "n_ratings": 0,
        "coverage": scored / wanted,
        "unscored": dict(Counter(v["reason"] for v in found if v["reason"])),
        "not_applicable": statuses["not_applicable"],
        "open": statuses["open"],
    }


def _questions() -> list[dict[str, Any]]:
    """Four questions, two answers each, three verdicts each: 24 verdicts, 9 of them missing."""
    refused, filtered = _unscored("safety", "refused"), _unscored("safety", "filtered")
    return [
        _question(
            "greeting-01",
            "Hi",
            "interactive",
            [
                _answer(CAREFUL, "Hello! How can I help?", _clear("Hello!"), _excluded(), _safe()),
                _answer(HASTY, "", _scored("clarity", [0]), _excluded(), refused),
            ],
        ),
        _question(
            "panda-02",
            "介绍一下大熊猫",
            "知识",
            [
                _answer(
                    CAREFUL,
                    PANDA,
                    _clear("它 几乎只吃竹子， 喜欢独居。"),
                    _scored("accuracy", [3], ["大熊猫"]),
                    _safe(),
                ),
                _answer(
                    HASTY,
                    "Cafe\u0301 panda",
                    _unscored("clarity", "truncated"),
                    _unscored("accuracy", "invalid"),
                    filtered,
                ),
            ],
            language="zh",
            reference="大熊猫主要吃竹子。",
            facts=["eats bamboo", "lives in <China>"],
        ),
        _question(
            f"hostile-03{HOSTILE[:40]}",
            HOSTILE,
            None,
            [
                _answer(
                    CAREFUL,
                    HOSTILE,
                    _scored("clarity", [4, 5, 4], [HOSTILE[:34]], rationale=HOSTILE, sd=0.577),
                    _missing("accuracy", "open", None),
                    _safe(),
                ),
                _answer(
                    HASTY,
                    HOSTILE,
                    _unscored("clarity", "out_of_range", HOSTILE),
                    _unscored("accuracy", "fabricated_evidence"),
                    _unscored("safety", "low_allowed_mass"),
                ),
            ],
            language='en" onload="alert(3)',
            reference=HOSTILE,
            facts=[HOSTILE],
        ),
        _question(
            "primes-04",
            "List the primes up to 10",
            "知识",
            [
                _answer(
                    CAREFUL,
                    PRIMES,
                    _scored("clarity", [4], ["2, 3, 5 and 7."], repaired=True),
                    _scored("accuracy", [5], ["5 and 7. That makes four."]),
                    _scored("safety", [5], ["words that the answer lacks"]),
                ),
                _answer(
                    HASTY,
                    "\n".join(f"line {n}" for n in range(40)),
                    _scored("clarity", [0]),
                    _scored("accuracy", [4]),
                    _unscored("safety", "cannot_assess"),
                ),
            ],
            language="en",
        ),
    ]


def _question(
    question_id: str,
    question: str,
    category: str | None,
    answers: list[dict[str, Any]],
    *,
    language: str | None = None,
    reference: str | None = None,
    facts: list[str] | None = None,
) -> dict[str, Any]:
    return {
        "question_id": question_id,
        "question": question,
        "domain": "general",
        "category": category,
        "language": language,
        "reference": reference,
        "required_facts": facts or [],
        "answers": answers,
    }


def _answer(model: str, answer: str, *verdicts: dict[str, Any]) -> dict[str, Any]:
    scores = [v["score"] for v in verdicts if v["score"] is not None]
    return {
        "model": model,
        "sample": 0,
        "answer": answer,
        "overall": sum(scores) / len(scores) if scores else None,
        "overall_note": "" if scores else "no criterion was scored",
        "checks": [
            {
                "wanted": "at least 1 <word>",
                "passed": bool(answer),
                "found": f"{len(answer.split())} words",
                "criteria": ["accuracy"],
            }
        ],
        "verdicts": list(verdicts),
    }


def _scored(
    criterion: str,
    levels: list[int],
    evidence: list[str] | None = None,
    *,
    rationale: str = "",
    sd: float | None = None,
    repaired: bool = False,
) -> dict[str, Any]:
    return {
        "criterion": criterion,
        "status": "scored",
        "reason": None,
        "score": sum(levels) / len(levels) / 5,
        "levels": levels,
        "sd": sd,
        "evidence": evidence or [],
        "rationale": rationale or f"Why {criterion} is at {levels}.",
        "detail": "",
        "repaired": repaired,
    }


def _clear(quote: str) -> dict[str, Any]:
    return _scored("clarity", [5], [quote])


def _safe() -> dict[str, Any]:
    return _scored("safety", [5])


def _excluded() -> dict[str, Any]:
    return _missing("accuracy", "not_applicable", None)


def _unscored(criterion: str, reason: str, detail: str = "") -> dict[str, Any]:
    return _missing(criterion, "unscored", reason, detail or f"what made it {reason}")


def _missing(criterion: str, status: str, reason: str | None, detail: str = "") -> dict[str, Any]:
    return {
        "criterion": criterion,
        "status": status,
        "reason": reason,
        "score": None,
        "levels": [],
        "sd": None,
        "evidence": [],
        "rationale": "",
        "detail": detail,
        "repaired": False,
    }


VOID = {"meta", "input", "br", "line", "use", "path", "link", "img", "hr", "wbr"}


@dataclass
class Node:
    """An element of the parsed page."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    def text(self) -> str:
        """All text within, as a browser's textContent."""
        return "".join(c if isinstance(c, str) else c.text() for c in self.children)

    def squeezed(self) -> str:
        """The text with every run of white space one space."""
        return " ".join(self.text().split())

    def walk(self) -> Iterator[Node]:
        """This element and all within, in the order of the page."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def all(self, tag: str, name: str = "") -> list[Node]:
        """The elements of a tag, and of a class where one is named."""
        return [
            n
            for n in self.walk()
            if n.tag == tag and (not name or name in (n.attributes.get("class") or "").split())
        ]

    def id(self, name: str) -> Node:
        """The one element of that id."""
        (found,) = [n for n in self.walk() if n.attributes.get("id") == name]
        return found


class _Builder(HTMLParser):
    """Builds the tree; fails on a tag that closes what is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Node:
    """The page as a tree."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.open == [builder.root], "an element is not closed"
    return builder.root
