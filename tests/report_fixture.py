"""A small but nasty report.

Hostile texts, Chinese, and every way in which a verdict can be missing. Values and intervals are
written by hand; counts follow from the verdicts below.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from judge.diagnostics import word_count
from judge.report._diagnosis import halo_block, heatmap, length

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


def report(*, offline: bool = False, language: str = "en") -> dict[str, Any]:
    """The report, freshly built; ``offline`` says that the baseline judged demo answers.

    Heat map, length and halo are computed from the verdicts; the rest is written by hand.
    """
    questions = _questions()
    verdicts = [v for q in questions for a in q["answers"] for v in a["verdicts"]]
    statuses = Counter(v["status"] for v in verdicts)
    return {
        "report": {
            "title": "Nasty <i>report</i>",
            "generated_at": "2026-11-21T00:40:12+00:00",
            "plumbline_version": "0.1.0",
            "language": language,
        },
        "run": {
            "run": "20261121T003012-a1b2c3",
            "started_at": "2026-11-21T01:30:12.123+01:00",
            "kind": "score",
            "judge": "offline" if offline else "openai:judge-1",
            "judges": ["offline" if offline else "openai:judge-1"],
            "offline": offline,
            "mode": "per-criterion",
            "scoring": "samples",
            "order": "answer-first",
            "shots": 2,
            "checklists": False,
            "kinds": {"samples": statuses["scored"]},
            "allowed_mass": None,
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
        "differences": _differences(),
        "panel": None,
        "heatmap": heatmap(questions, CRITERIA, MODELS),
        "length": length(questions, CRITERIA),
        "halo": halo_block(questions, CRITERIA),
        "spending": None if offline else _spending(),
        "flags": _flags(questions),
        "questions": questions,
    }


def _differences() -> list[dict[str, Any]]:
    values = {"overall": (-0.188, -0.31, -0.02), "clarity": (0.8, 0.7, 0.9), "safety": None}
    return [
        {
            "first": CAREFUL,
            "second": HASTY,
            "criterion": criterion,
            "first_mean": 0.712 if found else None,
            "second_mean": 0.712 - found[0] if found else None,
            "value": found[0] if found else None,
            "low": found[1] if found else None,
            "high": found[2] if found else None,
            "confidence": 0.95,
            "n_questions": 3 if found else 0,
        }
        for criterion in ["overall", *CRITERIA]
        for found in [values.get(criterion)]
    ]


def _spending() -> dict[str, Any]:
    def row(calls: int, cost: float | None) -> dict[str, Any]:
        return {
            "calls": calls, "follow_ups": 1, "attempts": calls + 2, "faults": 2,
            "prompt_tokens": 100 * calls, "cached_tokens": 50 * calls,
            "completion_tokens": 10 * calls, "cached_share": 0.5,
            "priced": calls if cost else 0, "cost": cost,
            "latency_median_s": 1.25, "latency_p95_s": 75.0,
            "first_at": "2026-11-21T00:30:12+00:00", "last_at": "2026-11-21T02:35:12+00:00",
            "wall_s": 7500.0,
        }  # fmt: skip

    return {
        "total": row(23, None),
        "verdicts": 24,
        "repaired_share": 1 / 24,
        "judges": [{"judge": "openai:judge-1", **row(23, None)}],
        "models": [{"model": model, **row(11, 0.5)} for model in MODELS],
        "criteria": [
            *({"criterion": criterion, **row(7, 0.25)} for criterion in CRITERIA),
            {"criterion": None, **row(2, 1234.5)},
        ],
    }


def _flags(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    hostile, empty = questions[2], questions[0]
    at = HOSTILE.index("override")
    span = {"family": "invisible", "start": at, "end": at + 14, "text": "", "weight": 0.9}
    return [
        {
            "question_id": hostile["question_id"], "number": 3, "model": CAREFUL, "sample": 0,
            "score": 0.9, "suspicious": True, "spans": [span], "null": [],
        },
        {
            "question_id": empty["question_id"], "number": 1, "model": HASTY, "sample": 0,
            "score": 0.0, "suspicious": False, "spans": [],
            "null": [{"kind": "empty", "detail": "no text"}],
        },
        {
            "question_id": hostile["question_id"], "number": 3, "model": HASTY, "sample": 0,
            "score": 0.2, "suspicious": False, "spans": [{**span, "weight": 0.2}], "null": [],
        },
    ]  # fmt: skip


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
        "words": word_count(answer),
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
        "kind": "samples",
        "allowed_mass": None,
        "judges": [],
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
        "kind": None,
        "allowed_mass": None,
        "judges": [],
    }
