"""DeepEval: a test run as it is kept on disk.

That is ``.deepeval/.latest_run_full.json``, or ``test_run_*.json`` in the results folder. Every
metric is a criterion.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from judge.importers._log import UNIT, Imported, Judgment, Log, Options, stable_id
from judge.importers._nodes import Node, read_json
from judge.records import Answer, Question, Reason

_POSITION = re.compile(r"\A(?:conversational_)?test_case_\d+\Z|\[test_case\d+\]\Z")
"""What the tool, or pytest, puts into names to number the test cases."""
_RESULT = re.compile(r"\s*\n\s*Score:[^\n]*\s*\Z")
_NAMED = 3
"""Test cases that a note names."""
_INVALID = ("invalid JSON", "ValidationError", "JSONDecodeError")


def read_deepeval(path: Path, options: Options) -> Imported:
    """The answers and judgments of a DeepEval test run."""
    root = read_json(path).told("a version of DeepEval that it does not name")
    root = root.get("testRunData") or root  # as .latest_test_run.json wraps it
    cases = root.at("testCases").items()
    log = Log("deepeval", options)
    conversations = root.get("conversationalTestCases")
    if conversations is not None and (count := len(conversations.items())):
        log.note(f"{count} conversations were left out: only single turns are imported.")
    if not cases:
        raise root.error("at least one single-turn test case", "none")
    model = options.model or _model(root)
    instructions = _instructions(cases)
    counts: Counter[str] = Counter()
    bare: list[tuple[Node, str, int]] = []
    judged: list[dict[str, Judgment]] = []
    for case in sorted(cases, key=_order):
        question = _question(case)
        number = counts[question.question_id]
        counts[question.question_id] += 1
        log.question(case, question)
        output = case.get("actualOutput")
        if output is not None:
            log.answer(
                output,
                Answer(
                    question_id=question.question_id, model=model, answer=output.text(),
                    sample=number,
                ),
            )  # fmt: skip
        found: dict[str, Judgment] = {}
        for metric in _metrics(case):
            one = _judgment(metric, question.question_id, model, number, options, instructions)
            log.judgment(metric, one)
            found[one.criterion] = one
        if found:
            judged.append(found)
        else:
            bare.append((case, question.question_id, number))
    if bare:
        _unscored(log, bare, judged)
    return log.close()


def _metrics(case: Node) -> list[Node]:
    metrics = case.get("metricsData")
    return [] if metrics is None else metrics.items()


def _unscored(
    log: Log, bare: list[tuple[Node, str, int]], judged: list[dict[str, Judgment]]
) -> None:
    """Test cases without any metric: unscored on what every other one was judged on."""
    common = [name for name in judged[0] if all(name in each for each in judged)] if judged else []
    for case, question_id, number in bare:
        for name in common:
            log.judgment(
                case,
                replace(
                    judged[0][name], question_id=question_id, answer_sample=number, value=None,
                    reason=Reason.CANNOT_ASSESS, rationale="",
                    detail="the test run has no metrics of this test case",
                ),
            )  # fmt: skip
    named = ", ".join(question_id for _, question_id, _ in bare[:_NAMED])
    more = ", ..." if len(bare) > _NAMED else ""
    what = f"unscored on {', '.join(common)}" if common else "without any verdict"
    log.note(f"{len(bare)} of the test cases have no metrics and are {what}: {named}{more}.")


def _order(case: Node) -> int:
    order = case.get("order")
    return 0 if order is None else order.whole()


def _model(root: Node) -> str:
    settings = root.get("hyperparameters")
    for name in ("model", "Model", "LLM", "llm"):
        found = settings.get(name) if settings is not None else None
        if found is not None and isinstance(found.value, str) and found.value.strip():
            return found.name()
    raise root.error(
        "the evaluated model under hyperparameters.model",
        "none",
        remedy="A test run does not name it by itself: name it with --model",
    )


def _question(case: Node) -> Question:
    """The question of a test case; its name counts where it is more than a position."""
    name = _POSITION.sub("", case.optional_text("name")).strip()
    text = case.at("input").text()
    reference = case.optional_text("expectedOutput") or None
    return Question(
        question_id=stable_id(name or "test", name, text, reference),
        question=text,
        reference=reference,
    )


def _instructions(cases: list[Node]) -> dict[str, str | None]:
    """Metric → what a G-Eval judge was told; None where test cases were told different things.

    Only the verbose log has it: criteria, steps and rubric, followed by the score.
    """
    told: dict[str, set[str]] = {}
    for case in cases:
        for metric in _metrics(case):
            name, words = metric.at("name").name(), metric.optional_text("verboseLogs")
            if words.startswith("Criteria:") and name.endswith("[GEval]"):
                told.setdefault(name, set()).add(_RESULT.sub("", words))
    return {name: next(iter(words)) if len(words) == 1 else None for name, words in told.items()}


def _judgment(
    metric: Node,
    question_id: str,
    model: str,
    number: int,
    options: Options,
    instructions: dict[str, str | None],
) -> Judgment:
    name = metric.at("name").name()
    judge = metric.optional_text("evaluationModel") or "deepeval"
    strict = metric.get("strictMode")
    settings: dict[str, Any] = {
        "metric": name,
        "strict": strict is not None and strict.truth(),
        "instructions": instructions.get(name),
    }
    score, error = metric.get("score"), metric.get("error")
    value: float | None = None
    reason: Reason | None = None
    detail = ""
    if error is not None or score is None:
        words = error.text() if error is not None else "no score"
        unusable = any(part in words for part in _INVALID)
        reason = Reason.INVALID if unusable else Reason.CANNOT_ASSESS
        detail = f"the metric failed: {words}"
    else:
        value = score.number()
        _require_right_way_round(metric, value, options.scales.get(name))
    return Judgment(
        question_id=question_id, model=model, criterion=name, judge=judge, settings=settings,
        answer_sample=number, value=value, reason=reason, scale=UNIT,
        rationale=metric.optional_text("reason") if reason is None else "", detail=detail,
    )  # fmt: skip


def _require_right_way_round(metric: Node, value: float, scale: tuple[float, float] | None) -> None:
    """Refuse a scale that the file's own passes contradict.

    Without a scale high scores are good, and a metric that passes on low ones is refused, since it
    is the only thing in the file that says so. A scale that calls low scores good is refused where
    high ones pass. One that calls high scores good is taken at its word.
    """
    threshold, success = metric.get("threshold"), metric.get("success")
    if threshold is None or success is None:
        return
    name, passed, limit = metric.at("name").name(), success.truth(), threshold.number()
    found = (
        f"success {str(success.value).lower()} with score {value:.15g} and threshold {limit:.15g}"
    )
    if scale is None and passed != (value >= limit):
        raise metric.error(
            "a pass exactly where the score reaches the threshold",
            found,
            remedy="Where low scores of a metric are good ones (in older versions Toxicity, Bias "
            f'and Hallucination), say so with --scale "{name}=1:0", else with --scale "{name}=0:1"',
        )
    if scale is not None and scale[0] > scale[1] and passed != (value <= limit):
        raise metric.error(
            f"a pass exactly where the score is at or below the threshold, as --scale "
            f'"{name}={scale[0]:.15g}:{scale[1]:.15g}" says',
            found,
            remedy=f"High scores of {name} are good ones in this file: leave --scale out",
        )
