"""What the weights decide: flips over a declared region, the decisive criterion, the stages.

Built on `judge.estimation.weight_robustness`, which draws weights near the chosen ones and finds
the extremes of a region; added here is the share of the region itself in which an order turns
round, weights drawn evenly from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from judge.comparison._table import CALIBRATED, JUDGE, complete, question_scores
from judge.comparison._trends import joint_draws
from judge.errors import UsageError
from judge.estimation import (
    Polytope,
    WeightRobustness,
    answer_overall,
    polytope_around,
    weight_robustness,
)
from judge.records import OVERALL
from judge.rubric import Rubric
from judge.study import Flags, Floats, Study, overall_function
from judge.weights import Weights

REGION = 0.05
"""By default each weight may lie this far from the chosen one."""
DRAWS = 4000
_TRIES = 200
_TIE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProfile:
    """The models' overalls under one stage's weights, and their order from the best."""

    stage: str
    weights: Mapping[str, float]
    overalls: Mapping[str, float]
    ranking: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightDecisions:
    """What hangs on the weights of a comparison.

    ``region`` is how far each weight may lie from the chosen one. ``flips`` gives, per pair of
    ``robustness.pairs``, the share of that region in which the other model leads; ``change`` the
    share in which any two change places. ``noise`` gives, per pair, the share of draws of other
    questions in which the other model leads under the chosen weights, None where no question has
    whole answers of both. ``left_out`` counts answers without all their scores, and
    ``models_left_out`` names models that have no answer with all of them.
    """

    region: float
    chosen: Mapping[str, float]
    robustness: WeightRobustness
    flips: tuple[float, ...]
    noise: tuple[float | None, ...]
    change: float
    left_out: int
    models_left_out: tuple[str, ...]
    stages: tuple[StageProfile, ...]
    categories_ignored: bool
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Means:
    """Whole answers for the analysis: means (models, criteria), and what makes an overall.

    ``cube`` is (questions, models, criteria).
    """

    models: tuple[str, ...]
    scores: Floats
    applicable: Flags
    values: Floats
    numbers: np.ndarray
    questions: np.ndarray
    cube: Floats
    left_out: int
    names_left_out: tuple[str, ...]


def even_draws(region: Polytope, draws: int, rng: np.random.Generator) -> Floats:
    """Weights spread evenly over a region, (draws, c).

    Candidates are even over something that holds the region, and those inside it are kept. Two
    such wholes take turns until one has enough: a narrow region fills the box of its bounds, a wide
    one the simplex of weights above its lower bounds. Raises UsageError for a region of which
    neither finds enough.
    """
    low, high = np.array(region.low), np.array(region.high)
    if (high - low).max() < _TIE:
        return np.tile(low / low.sum(), (draws, 1))
    kept: tuple[list[Floats], list[Floats]] = ([], [])
    for _ in range(_TRIES):
        for found, propose in zip(kept, (_box_draws, _simplex_draws), strict=True):
            drawn = propose(low, high, draws, rng)
            found.append(drawn[((drawn >= low) & (drawn <= high)).all(axis=1)])
            if sum(map(len, found)) >= draws:
                return np.vstack(found)[:draws]
    raise UsageError(
        "Too little can be drawn from this region of weights: give another --weight-region."
    )


def _box_draws(low: Floats, high: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Even draws of all weights but the one with the widest bounds, which is what is left of 1.

    Projected onto those coordinates the region is a part of the box.
    """
    last = int((high - low).argmax())
    drawn = rng.uniform(low, high, (draws, len(low)))
    drawn[:, last] = 0.0
    drawn[:, last] = 1.0 - drawn.sum(axis=1)
    return np.asarray(drawn)


def _simplex_draws(low: Floats, high: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Even draws of the weights that lie above their lower bounds and sum to 1."""
    return np.asarray(low + (1.0 - low.sum()) * rng.dirichlet(np.ones(len(high)), draws))


def weight_decisions(
    study: Study,
    rubric: Rubric,
    weights: Weights,
    stage: str | None,
    *,
    levels: Mapping[tuple[str, str], float | None] | None = None,
    region: float = REGION,
    partial_from: int | None = None,
    draws: int = DRAWS,
    rng: np.random.Generator,
) -> WeightDecisions | None:
    """What the weights decide on a study; None with fewer than two models that can be compared.

    ``levels`` are calibrated means by (model, criterion). They take the place of the judge's
    (``basis``) where every model has all of them and the overall is a plain weighted mean. What
    other questions would do (``noise``) is always seen on the judge's scores. ``partial_from`` is
    that of the study's overall, for the stages.

    Works on answers with all their applicable scores. The profile's caps act on single answers;
    weights of its categories are left aside (``categories_ignored``), because the region is one of
    a single vector.
    """
    criteria = [name for name in study.criteria if name != OVERALL]
    vector = weights.vector(stage=stage)
    chosen = {name: vector.get(name, 0.0) for name in criteria}
    total = sum(chosen.values())
    means = _whole_answers(study, criteria)
    if total <= 0 or len(means.models) < 2:
        return None
    chosen = {name: weight / total for name, weight in chosen.items()}
    plain = means.applicable.all() and not weights.caps
    overall = None if plain else answer_overall(
        means.values, means.numbers, means.questions, len(means.models),
        applicable=means.applicable, caps=_caps(rubric, weights, criteria),
    )  # fmt: skip
    bounds = polytope_around(list(chosen.values()), region)
    better = None if overall is not None else _calibrated(means.models, criteria, levels)
    scores = means.scores if better is None else better
    robustness = weight_robustness(
        scores, chosen, models=means.models, polytope=bounds, rng=rng, overall=overall
    )
    drawn = even_draws(bounds, draws, rng)
    found = drawn @ scores.T if overall is None else overall(drawn)
    place = {name: at for at, name in enumerate(means.models)}
    one = np.array([place[pair.ahead] for pair in robustness.pairs])
    two = np.array([place[pair.behind] for pair in robustness.pairs])
    lead = found[:, one] - found[:, two]
    turned = np.where(np.abs(lead) <= _TIE, 0.5, (lead < 0).astype(np.float64))
    return WeightDecisions(
        region=region,
        chosen=chosen,
        robustness=robustness,
        flips=tuple(float(share) for share in turned.mean(axis=0)),
        noise=_noise(_question_overalls(means, rubric, weights, chosen), one, two, rng),
        change=float((turned == 1).any(axis=1).mean()),
        left_out=means.left_out,
        models_left_out=means.names_left_out,
        stages=stage_profiles(study, rubric, weights, partial_from=partial_from),
        categories_ignored=bool(weights.categories) and stage is None,
        basis=JUDGE if better is None else CALIBRATED,
    )


def stage_profiles(
    study: Study, rubric: Rubric, weights: Weights, *, partial_from: int | None = None
) -> tuple[StageProfile, ...]:
    """The models under the weights of every stage of the profile, caps included."""
    criteria = [name for name in study.criteria if name != OVERALL]
    plain = study.of_criteria(criteria)
    found = []
    for stage, vector in weights.stages.items():
        overall = overall_function(plain, rubric, weights, stage, partial_from=partial_from)
        values = overall(plain.panel, plain.applicable)
        one = plain.with_overall(overall)
        cube = question_scores(one, np.column_stack([plain.panel, values]))[:, :, -1]
        counts = (~np.isnan(cube)).sum(axis=0)
        by_model = np.nansum(cube, axis=0) / np.maximum(counts, 1)
        overalls = {
            name: float(value)
            for name, value, count in zip(study.model_names, by_model, counts, strict=True)
            if count
        }
        found.append(
            StageProfile(
                stage=stage,
                weights={name: vector.get(name, 0.0) for name in criteria},
                overalls=overalls,
                ranking=tuple(sorted(overalls, key=lambda name: (-overalls[name], name))),
            )
        )
    return tuple(found)


def _whole_answers(study: Study, criteria: Sequence[str]) -> _Means:
    columns = [study.column(name) for name in criteria]
    values, applies = study.panel[:, columns], study.applicable[:, columns]
    whole = np.asarray((~np.isnan(values) | ~applies).all(axis=1) & applies.any(axis=1))
    cube = question_scores(
        study.only(whole).of_criteria(criteria), np.where(applies, values, np.nan)[whole]
    )
    counts = (~np.isnan(cube)).sum(axis=0)
    means = np.nansum(cube, axis=0) / np.maximum(counts, 1)
    there = (counts > 0).any(axis=1)
    place = np.cumsum(there) - 1
    return _Means(
        models=tuple(name for name, kept in zip(study.model_names, there, strict=True) if kept),
        scores=means[there],
        applicable=applies[whole],
        values=values[whole],
        numbers=place[study.models[whole]],
        questions=study.questions[whole],
        cube=cube[:, there],
        left_out=int((~whole).sum()),
        names_left_out=tuple(
            name for name, kept in zip(study.model_names, there, strict=True) if not kept
        ),
    )


def _calibrated(
    models: Sequence[str],
    criteria: Sequence[str],
    levels: Mapping[tuple[str, str], float | None] | None,
) -> Floats | None:
    """Calibrated means (models, criteria); None unless all are known."""
    found = [[(levels or {}).get((model, name)) for name in criteria] for model in models]
    if any(value is None for row in found for value in row):
        return None
    return np.array(found, np.float64)


def _question_overalls(
    means: _Means, rubric: Rubric, weights: Weights, chosen: Mapping[str, float]
) -> Floats:
    """Overalls under the chosen weights, (questions, models), of whole answers; NaN without one."""
    n = len(means.models)
    cells = means.questions * n + means.numbers
    there, numbers = np.unique(cells, return_inverse=True)
    of_cells = answer_overall(
        means.values, numbers.reshape(-1), np.zeros(len(cells), np.int64), len(there),
        applicable=means.applicable, caps=_caps(rubric, weights, list(chosen)),
    )  # fmt: skip
    vector = np.array(list(chosen.values()))
    found = np.full(len(means.cube) * n, np.nan)
    # What applies to an answer may weigh nothing: then it has no overall.
    weighs = np.bincount(numbers.reshape(-1), weights=means.applicable @ vector) > 0
    found[there] = np.where(weighs, of_cells(vector[None])[0], np.nan)
    return found.reshape(-1, n)


def _noise(
    overalls: Floats, one: np.ndarray, two: np.ndarray, rng: np.random.Generator
) -> tuple[float | None, ...]:
    """Per pair of models (of which ``one`` leads) how often other questions put ``two`` ahead.

    Draws of the pair's mean difference over the questions that both have, a tie counting half.
    """
    found: list[float | None] = []
    for ahead, behind in zip(one.tolist(), two.tolist(), strict=True):
        pair = overalls[:, [ahead, behind]]
        pair = pair[complete(pair)]
        if not len(pair):
            found.append(None)
            continue
        drawn = joint_draws(pair, rng=rng)
        lead = drawn[:, 0] - drawn[:, 1]
        turned = np.where(np.abs(lead) <= _TIE, 0.5, (lead < 0).astype(np.float64))
        found.append(float(turned.mean()))
    return tuple(found)


def _caps(
    rubric: Rubric, weights: Weights, criteria: Sequence[str]
) -> list[tuple[Flags, float, float]]:
    priorities = {one.criterion: one.priority for one in rubric.criteria}
    return [
        (
            np.array([priorities.get(name) == cap.priority for name in criteria]),
            cap.at_or_below,
            cap.cap,
        )
        for cap in weights.caps
    ]
