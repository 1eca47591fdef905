"""Everything that a comparison shows, as plain JSON: of a study, or of a published table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from judge import __version__
from judge.comparison import _answers, _blends, _trends
from judge.comparison._benchmarks import Benchmark
from judge.comparison._metadata import ModelFacts, facts_of
from judge.comparison._published import TableAnalysis
from judge.comparison._side_by_side import side_by_side
from judge.comparison._table import (
    CALIBRATED,
    JUDGE,
    PRINTED,
    Gap,
    by_pair,
    gap_between,
    paired_gaps,
    question_scores,
    raw_estimates,
    standings,
)
from judge.comparison._weights import REGION, WeightDecisions, weight_decisions
from judge.errors import UsageError
from judge.estimation import ModelDifference, WeightRobustness
from judge.evidence import Evidence
from judge.records import OVERALL, Estimate, Question
from judge.rubric import Rubric
from judge.study import Floats, Study

FORM = 1
"""Of the JSON: raised when a field changes its meaning or goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Estimates and differences on the scale of people's ratings (see `judge.estimation`)."""

    estimates: Sequence[Estimate]
    differences: Sequence[ModelDifference]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How to compare, and what is known beside the scores.

    ``models`` are those compared, in their order (None: all). ``questions`` gives what is known of
    a question (domain, language, text), ``answers`` the texts by (question, model, sample); both
    may lack any.
    """

    models: Sequence[str] | None = None
    questions: Mapping[str, Question]
    answers: Mapping[tuple[str, str, int], str]
    facts: Mapping[str, ModelFacts]
    benchmarks: Sequence[Benchmark] = ()
    confidence: float = 0.95
    seed: int = 0
    region: float = REGION
    now: datetime | None = None


def compared_models(study: Study, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The models to compare, in the order asked for.

    Raises UsageError for a model without scores, and for one named twice.
    """
    if wanted is None:
        return study.model_names
    for name in wanted:
        if name not in study.model_names:
            raise UsageError(
                f"--models: {name or 'an empty name'} has no scores here; known are "
                f"{', '.join(study.model_names)}."
            )
    if len(set(wanted)) < len(wanted):
        raise UsageError("--models: a model is named twice.")
    return tuple(wanted)


def comparison_body(
    evidence: Evidence, setting: Setting, calibrated: Calibrated | None = None
) -> dict[str, Any]:
    """The content of ``comparison.json`` and of the page; no NaN, None where there is no number.

    The same evidence, setting and seed give the same content (but for its time).
    """
    models = compared_models(evidence.study, setting.models)
    study = _of_models(evidence.study, models)
    rng = np.random.default_rng(setting.seed)
    facts = facts_of(models, setting.facts)
    cube = question_scores(study, study.panel)
    gaps = paired_gaps(cube, models, study.criteria, confidence=setting.confidence, rng=rng)
    common = {
        frozenset((gap.model, gap.other)): gap.n_questions
        for gap in gaps
        if gap.criterion == OVERALL
    }
    basis, estimates = JUDGE, raw_estimates(study, confidence=setting.confidence, seed=setting.seed)
    if calibrated is not None:
        basis = CALIBRATED
        estimates = _in_order(calibrated.estimates, models)
        gaps = _on_peoples_scale(gaps, calibrated.differences)
    words = _words(study, setting.answers)
    return {
        **_head(setting, evidence.rubric, study.criteria),
        "kind": "study",
        "source": evidence.source,
        "judge": evidence.judge,
        "weights": evidence.weights.name,
        "stage": evidence.stage,
        "rulers": dict(evidence.rulers),
        "hashes": dict(evidence.hashes),
        "notes": list(evidence.notes),
        "basis": basis,
        "calibrated": calibrated is not None,
        "synthetic": evidence.synthetic,
        "offline": evidence.offline,
        "counts": {
            "answers": len(study),
            "questions": len(np.unique(study.questions)),
            "models": len(models),
            "ratings": len(study.ratings.values),
        },
        "models": [asdict(one) for one in facts],
        "estimates": [asdict(one) for one in estimates],
        "standings": [asdict(one) for one in standings(estimates, gaps, basis=basis)],
        "differences": [_gap(gap) for gap in gaps],
        "trends": _trend_data(study, cube, facts, gaps, setting, words, rng),
        "lengths": [
            asdict(one) for one in _answers.lengths(words, study) if one.mean is not None
        ],
        "consistency": [
            asdict(one)
            for one in _answers.steadiness(study, confidence=setting.confidence, rng=rng)
        ],
        "decisions": _decisions(
            weight_decisions(
                study,
                evidence.rubric,
                evidence.weights,
                evidence.stage,
                levels={(one.model, one.criterion): one.value for one in estimates}
                if calibrated is not None
                else None,
                region=setting.region,
                partial_from=evidence.partial_from,
                rng=rng,
            ),
            common,
        ),
        "benchmarks": [asdict(one) for one in setting.benchmarks if one.model in models],
        "published": None,
        **side_by_side(study, models, setting.questions, setting.answers),
    }  # fmt: skip


def table_body(analysis: TableAnalysis, setting: Setting) -> dict[str, Any]:
    """As `comparison_body`, of a published table: its numbers have no intervals."""
    table = analysis.table
    values = np.column_stack([table.scores, table.overalls])
    estimates = [
        Estimate(
            model=model, criterion=criterion, value=float(values[row, at]), low=None, high=None,
            confidence=setting.confidence, method="as printed", estimand="fixed_set",
            n_questions=0, n_answers=0, n_ratings=0, coverage=1.0,
        )
        for row, model in enumerate(table.models)
        for at, criterion in enumerate((*table.criteria, OVERALL))
    ]  # fmt: skip
    return {
        **_head(setting, table.rubric, (*table.criteria, OVERALL)),
        "kind": "published",
        "source": table.source,
        "judge": None,
        "weights": analysis.profile.name,
        "stage": analysis.stage,
        "rulers": {},
        "hashes": {},
        "notes": [],
        "basis": PRINTED,
        "calibrated": False,
        "synthetic": False,
        "offline": False,
        "counts": {"answers": 0, "questions": 0, "models": len(table.models), "ratings": 0},
        "models": [asdict(one) for one in table.facts],
        "estimates": [asdict(one) for one in estimates],
        "standings": [asdict(one) for one in standings(estimates, (), basis=PRINTED)],
        "differences": [],
        "trends": {
            "epochs": [], "sizes": [], "blends": None, "tuning": [], "brevity": [],
            "languages": {"means": [], "trends": []},
        },
        "lengths": [],
        "consistency": [],
        "decisions": {
            **_robustness(
                analysis.robustness, analysis.flips, [None] * len(analysis.flips), {}
            ),
            "region": analysis.region, "chosen": dict(analysis.weights), "change": None,
            "left_out": 0, "models_left_out": [], "stages": [], "categories_ignored": False,
            "basis": PRINTED,
        },
        "benchmarks": [],
        "published": {
            "name": table.name,
            "title": table.title,
            "decimals": table.decimals,
            "reproduced": [asdict(one) for one in analysis.reproduced],
            "explained": {
                "possible": analysis.explained.possible,
                "misfit": analysis.explained.misfit,
                "tolerance": analysis.explained.tolerance,
                "bounds": [asdict(one) for one in analysis.explained.bounds],
            },
        },
        "questions": [],
        "questions_left_out": 0,
    }  # fmt: skip


def _head(setting: Setting, rubric: Rubric, criteria: Sequence[str]) -> dict[str, Any]:
    names = {one.criterion: one.name for one in rubric.criteria} | {OVERALL: "Overall"}
    return {
        "form": FORM,
        "plumbline": __version__,
        "created_at": (setting.now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "rubric": rubric.name,
        "confidence": setting.confidence,
        "seed": setting.seed,
        "criteria": [
            {"criterion": name, "name": names.get(name, name)} for name in criteria
        ],
    }  # fmt: skip


def _of_models(study: Study, models: Sequence[str]) -> Study:
    """The study of some models, numbered in that order."""
    place = np.array(
        [models.index(name) if name in models else -1 for name in study.model_names], np.int64
    )
    part = study.only(place[study.models] >= 0)
    return replace(part, models=place[part.models], model_names=tuple(models))


def _in_order(found: Sequence[Estimate], models: Sequence[str]) -> tuple[Estimate, ...]:
    order = {name: at for at, name in enumerate(models)}
    return tuple(
        sorted((one for one in found if one.model in order), key=lambda one: order[one.model])
    )


def _on_peoples_scale(
    gaps: Sequence[Gap], differences: Sequence[ModelDifference]
) -> tuple[Gap, ...]:
    """The gaps with calibrated differences in their place, where there is one."""
    known = by_pair(
        [
            Gap(
                criterion=one.criterion, model=one.first, other=one.second, value=one.value,
                low=one.low, high=one.high, sd=None, n_questions=one.n_questions, left_out=0,
                basis=CALIBRATED,
            )
            for one in differences
            if one.value is not None
        ]
    )  # fmt: skip
    found = []
    for gap in gaps:
        better = gap_between(known, gap.criterion, gap.model, gap.other)
        found.append(gap if better is None else replace(better, left_out=gap.left_out))
    return tuple(found)


def _words(study: Study, answers: Mapping[tuple[str, str, int], str]) -> Floats:
    """The length of every answer, (n,): as scored, or counted from the texts; NaN where unknown."""
    from judge.diagnostics import word_count

    counted = np.array(
        [
            np.nan if (text := answers.get(key)) is None else word_count(text)
            for key in answer_keys(study)
        ],
        np.float64,
    )
    return np.where(np.isnan(study.words), counted, study.words)


def answer_keys(study: Study) -> list[tuple[str, str, int]]:
    """(question, model, sample) of every answer."""
    return [
        (study.question_ids[question], study.model_names[model], int(sample))
        for question, model, sample in zip(
            study.questions, study.models, study.samples, strict=True
        )
    ]


def _trend_data(
    study: Study,
    cube: Floats,
    facts: Sequence[ModelFacts],
    gaps: Sequence[Gap],
    setting: Setting,
    words: Floats,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Curves and tables over the judge's scores, question by question."""
    place = {one.model: at for at, one in enumerate(facts)}
    known = [setting.questions.get(name) for name in study.question_ids]
    domains = [None if one is None else one.domain for one in known]
    languages = [None if one is None else one.language for one in known]
    overall = cube[:, :, study.column(OVERALL)]
    logs = _answers.log_length_cube(words, study)
    how: dict[str, Any] = {"confidence": setting.confidence, "rng": rng}
    by_epoch = _trends.epoch_groups(facts)
    epochs, brevity = [], []
    spoken: list[_answers.LanguageTrend] = []
    for label, group in by_epoch:
        of = [place[one.model] for one in group]
        epochs.append(_trends.epoch_curve(label, group, cube[:, of], study.criteria, **how))
        brevity.append(_answers.brevity(label, group, logs[:, of], confidence=setting.confidence))
        spoken += _answers.language_trends(label, group, overall[:, of], languages, **how)
    sizes = [
        _trends.size_curve(
            label, group, cube[:, [place[one.model] for one in group]], study.criteria, **how
        )
        for label, group in _trends.size_groups(facts)
    ]
    blends = _blends.balances(overall, facts, domains, **how)
    tuning = _trends.tunings(facts, by_pair(gaps), study.criteria)
    return {
        "epochs": [asdict(one) for one in epochs],
        "sizes": [asdict(one) for one in sizes],
        "blends": None if blends is None else asdict(blends),
        "tuning": [
            {**asdict(one), "gaps": [_gap(gap) for gap in one.gaps]} for one in tuning
        ],
        "brevity": [asdict(one) for one in brevity if one is not None],
        "languages": {
            "means": [
                asdict(one)
                for one in _answers.language_means(overall, study.model_names, languages, **how)
            ],
            "trends": [asdict(one) for one in spoken],
        },
    }  # fmt: skip


def _gap(gap: Gap) -> dict[str, Any]:
    return {**asdict(gap), "clear": gap.clear}


def _decisions(
    found: WeightDecisions | None, common: Mapping[frozenset[str], int]
) -> dict[str, Any] | None:
    """``common`` gives the number of questions on which both models of a pair have an overall."""
    if found is None:
        return None
    return {
        **_robustness(found.robustness, found.flips, found.noise, common),
        "region": found.region,
        "chosen": dict(found.chosen),
        "change": found.change,
        "left_out": found.left_out,
        "models_left_out": list(found.models_left_out),
        "stages": [asdict(one) for one in found.stages],
        "categories_ignored": found.categories_ignored,
        "basis": found.basis,
    }


def _robustness(
    found: WeightRobustness,
    flips: Sequence[float],
    noise: Sequence[float | None],
    common: Mapping[frozenset[str], int],
) -> dict[str, Any]:
    return {
        "ranking": list(found.ranking),
        "exact": found.exact,
        "concentration": found.concentration,
        "models": [asdict(one) for one in found.models],
        "pairs": [
            {
                **asdict(pair),
                "robust": pair.robust,
                "region_flip_share": share,
                "noise_flip_share": other,
                "common_questions": common.get(frozenset((pair.ahead, pair.behind))),
            }
            for pair, share, other in zip(found.pairs, flips, noise, strict=True)
        ],
    }
