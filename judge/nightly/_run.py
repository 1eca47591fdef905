"""One night: the candidate answers, the judge scores everything together, and it is noted once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from judge.anchors import ANCHORS
from judge.answering import AnswerRun, AnswerSettings, answer, answer_workload
from judge.endpoint import ChatEndpoint, Decoding, ModelSpec
from judge.errors import EndpointError, UsageError
from judge.execution import INTERRUPTED, Progress
from judge.ledger import Ledger
from judge.nightly._anchors import anchor_items, chosen_anchors
from judge.nightly._canaries import canary_items, planted_canaries
from judge.nightly._drawing import baseline_of, drawn_answers
from judge.nightly._events import CANARIES, Series, StoredNight, add_once, read_series
from judge.nightly._measure import Arms, Scores, measured
from judge.nightly._plan import Plan
from judge.records import Answer
from judge.scoring import (
    Item,
    ScoreRun,
    expected_rulers,
    item_of,
    missing_calls,
    score,
)
from judge.tables import read_answers


class NightInterrupted(Exception):
    """Somebody ended the run; what came back is in the ledger, and the same command goes on."""


class Screen(Protocol):
    """What a run shows, and how it reaches models: the command's part."""

    def answers(self, title: str) -> AbstractContextManager[Callable[[AnswerRun, Any], None]]:
        """Progress of answering; gives what is called a few times per second."""
        ...

    def scores(self, title: str) -> AbstractContextManager[Callable[[ScoreRun, Any], None]]:
        """Progress of scoring."""
        ...

    def served(self, spec: ModelSpec, *, needed: bool) -> AbstractContextManager[ModelSpec]:
        """A model of ours, started where it is needed."""
        ...

    def opener(self, spec: ModelSpec, *, judge: bool) -> Callable[[], ChatEndpoint]:
        """What opens the endpoint of a model, under the night's budget and limits."""
        ...


def measure(ledger: Ledger, plan: Plan, date: str, screen: Screen) -> StoredNight:
    """Measure one night; what the ledger holds of it is not asked for again.

    A time limit, a spent budget or an endpoint that fails ends the night early: it is then not
    complete, and says why. Raises NightInterrupted after SIGINT or SIGTERM.
    """
    config = plan.config
    deadline = None if config.time_limit is None else time.monotonic() + config.time_limit
    troubles: list[str] = []
    own, twins = _candidate_answers(ledger, plan, date, screen, deadline, troubles)
    series = read_series(ledger, config.series)
    arms = _arms(ledger, plan, series, date, own, twins)
    items = arms.shuffled(config.series, date)
    outcome = score_items(ledger, plan, items, date, screen, troubles, deadline)
    if outcome is None:
        rulers = expected_rulers(ledger, plan.rubric, plan.judge, plan.judging(date))
    else:
        rulers = dict(outcome.rulers)
    models = sorted({item.answer.model for item in items})
    scores = Scores(ledger, plan.ruler(rulers), date, plan.categories, models)
    wanted = len(plan.questions) * config.candidate.samples
    troubles += _too_much_missing(plan, scores.missing(own, wanted), len(own), wanted)
    night = measured(
        arms, scores, date=date, epoch=plan.epoch(rulers), wanted=wanted,
        trouble="; ".join(troubles),
    )  # fmt: skip
    return StoredNight(
        night=night,
        run="" if outcome is None else outcome.run,
        made_by=plan.made_by(rulers),
        answers=scores.by_answer(own),
        spent=_spent(outcome),
        candidate=config.candidate.name,
        synthetic=any((item.answer.generation or {}).get("synthetic") for item in own),
        notes=_notes(plan, arms),
    )


def _too_much_missing(
    plan: Plan, missing: Mapping[str, float], answers: int, wanted: int
) -> list[str]:
    """Why a night is not complete although nothing stopped it."""
    allowed = plan.config.max_unscored
    if answers < wanted * (1 - allowed):
        return [f"only {answers} of {wanted} answers are there"]
    short = [name for name, share in missing.items() if share > allowed]
    if not short:
        return []
    worst = max(short, key=lambda name: missing[name])
    return [f"{missing[worst]:.0%} of the verdicts on {worst} are missing, {allowed:.0%} may be"]


def _notes(plan: Plan, arms: Arms) -> tuple[str, ...]:
    """What was asked for and could not be had."""
    config, notes = plan.config, []
    if config.anchors.n and not arms.anchors:
        notes.append(
            "There are no anchors: the ledger holds no rated answers (judge import ratings, judge "
            "rate). Only answers of earlier nights can tell a judge that moved from a model."
        )
    elif len(arms.anchors) < config.anchors.n:
        notes.append(
            f"{len(arms.anchors)} anchors, {config.anchors.n} were wanted: at most half of the "
            "rated answers are set aside, calibrations need the others."
        )
    if config.again.samples and not arms.again:
        notes.append(
            "There is no A/A arm: the night has no further answers of the candidate (sample "
            f"{config.candidate.samples} and up)."
        )
    return tuple(notes)


def _candidate_answers(
    ledger: Ledger, plan: Plan, date: str, screen: Screen, deadline: float | None,
    troubles: list[str],
) -> tuple[list[Item], list[Item]]:  # fmt: skip
    """Tonight's answers of the candidate, and those of the A/A arm."""
    config = plan.config
    if plan.candidate is None:
        _import_answers(ledger, plan, date)
    else:
        _ask(ledger, plan, plan.candidate, date, screen, deadline, troubles)
    own: list[Item] = []
    twins: list[Item] = []
    for row in ledger.answers(models=[config.candidate.name]):
        answered = row.answer
        question = plan.questions.get(answered.question_id)
        last = config.candidate.samples + config.again.samples
        if answered.occasion != date or question is None or answered.sample >= last:
            continue
        item = item_of(row.answer_id, answered, question)
        (own if answered.sample < config.candidate.samples else twins).append(item)
    return own, twins


def _ask(
    ledger: Ledger, plan: Plan, spec: ModelSpec, date: str, screen: Screen,
    deadline: float | None, troubles: list[str],
) -> None:  # fmt: skip
    candidate = plan.config.candidate
    settings = AnswerSettings(
        name=candidate.name,
        samples=candidate.samples + plan.config.again.samples,
        occasion=date,
        system=candidate.system,
        decoding=Decoding(
            temperature=candidate.temperature, max_tokens=candidate.max_tokens, seed=candidate.seed
        ),
        strip_thinking=candidate.strip_thinking,
    )
    questions = list(plan.questions.values())
    calls = answer_workload(ledger, questions, spec, settings).calls
    with (
        screen.served(spec, needed=calls > 0) as at,
        screen.answers(f"answers of {candidate.name}") as on_tick,
    ):
        opener = screen.opener(at, judge=False)
        _finish(
            answer(ledger, questions, at, settings, opener, on_tick, deadline),
            "the candidate", troubles, plan.config.max_unscored,
        )  # fmt: skip


def _finish(work: Coroutine[Any, Any, Any], who: str, troubles: list[str], allowed: float) -> Any:
    """Run a part of the night; what ended it early goes to ``troubles``. None if it failed.

    Up to the share ``allowed``, units that a server keeps refusing are only missing: they must not
    keep a night, and with it a baseline, from ever being complete.
    """
    try:
        outcome = asyncio.run(work)
    except EndpointError as error:
        troubles.append(f"{who} could not be reached: {error}")
        return None
    progress: Progress = outcome.progress
    if progress.stopped == INTERRUPTED:
        raise NightInterrupted
    if progress.stopped:
        troubles.append(f"{who}: stopped by the {progress.stopped}, {progress.open} units open")
    elif progress.open > allowed * progress.planned:
        listed = ", ".join(f"{count} {reason}" for reason, count in progress.open_why.items())
        troubles.append(f"{who}: {progress.open} of {progress.planned} units open: {listed}")
    return outcome


def _import_answers(ledger: Ledger, plan: Plan, date: str) -> None:
    """Store the answers of tonight's file under the candidate's name and the date."""
    candidate = plan.config.candidate
    path = candidate.answers_file(date)
    assert path is not None  # the configuration has one of the two
    answers = _of_one_model(
        read_answers(path).answers, candidate.name, path,
        unnamed=candidate.name == plan.config.series,
    )  # fmt: skip
    known = [one for one in answers if one.question_id in plan.questions]
    if not known:
        raise UsageError(
            f"{path}: holds no answer to a question of {plan.config.questions}. Name the question "
            "set that was answered (questions)."
        )
    named = [replace(one, model=candidate.name, occasion=date) for one in known]
    ledger.add_answers(named, {one.question_id: plan.questions[one.question_id] for one in named})


def _of_one_model(
    answers: Sequence[Answer], name: str, path: Path, *, unnamed: bool
) -> Sequence[Answer]:
    """Whose answers are watched; those of the only model where the settings name none."""
    models = sorted({one.model for one in answers})
    if name in models:
        return [one for one in answers if one.model == name]
    if len(models) == 1 and unnamed:
        return answers
    raise UsageError(
        f"{path}: holds answers of {', '.join(models) or 'nobody'}, not of {name}. Say whose are "
        "watched (candidate.name)."
    )


def _arms(
    ledger: Ledger, plan: Plan, series: Series, date: str, own: Sequence[Item],
    twins: Sequence[Item],
) -> Arms:  # fmt: skip
    """All that is judged tonight; anchors and canaries are frozen on the first night with any."""
    config = plan.config
    anchors, canaries = series.anchors, series.canaries
    if anchors is None and config.anchors.n:
        anchors = chosen_anchors(
            ledger, plan.rubric, plan.questions, config.series, config.anchors.n
        )
        if anchors is not None:
            add_once(ledger, config.series, ANCHORS, "frozen", anchors)
    if canaries is None and config.canaries:
        canaries = planted_canaries(ledger, config.series, date, own)
        if canaries is not None:
            add_once(ledger, config.series, CANARIES, "frozen", canaries)
    chosen, before = _slice(ledger, plan, series, date)
    return Arms(
        questions=tuple(plan.questions),
        candidate=own,
        again=twins,
        anchors=[] if anchors is None else anchor_items(ledger, anchors, plan.questions),
        slice=chosen,
        slice_before=before,
        canaries={} if canaries is None else canary_items(ledger, canaries, plan.questions),
    )


def _slice(
    ledger: Ledger, plan: Plan, series: Series, date: str
) -> tuple[list[Item], np.ndarray[Any, Any]]:
    """Answers of baseline nights for the judge to score again, and their scores of then."""
    nothing: tuple[list[Item], np.ndarray[Any, Any]] = ([], np.empty((0, len(plan.metrics))))
    baseline = baseline_of(series, date)
    if baseline is None or not plan.config.slice.n:
        return nothing
    then = series.night(baseline.nights[-1])
    if then is None or then.night.metrics != plan.metrics:
        return nothing  # other criteria: nothing to compare them with
    return drawn_answers(ledger, plan, series, baseline, plan.config.slice.n, "slice", date)


def score_items(
    ledger: Ledger, plan: Plan, items: Sequence[Item], occasion: str, screen: Screen,
    troubles: list[str], deadline: float | None = None,
) -> ScoreRun | None:  # fmt: skip
    """Have the judge score answers on an occasion; None where there is nothing, or it failed."""
    settings = plan.judging(occasion)
    if not items:
        return None
    calls = missing_calls(ledger, items, plan.rubric, plan.judge, settings)
    with (
        screen.served(
            plan.judge, needed=plan.judge.local is not None and next(calls, None) is not None
        ) as at,
        screen.scores(f"judging with {plan.judge.identity}") as on_tick,
    ):
        opener = screen.opener(at, judge=True)
        outcome: ScoreRun | None = _finish(
            score(ledger, items, plan.rubric, at, settings, opener, on_tick, deadline=deadline),
            "the judge", troubles, plan.config.max_unscored,
        )  # fmt: skip
    return outcome


def _spent(outcome: ScoreRun | None) -> dict[str, float | None]:
    if outcome is None:
        return {"tokens": 0.0, "usd": None}
    progress = outcome.progress
    return {
        "tokens": float(progress.prompt_tokens + progress.completion_tokens),
        "usd": None if progress.unpriced else progress.cost,
    }
