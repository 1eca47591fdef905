"""What lies between the scores: heat map, differences, length, halo, panel, flagged answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from judge.diagnostics import halo, judge_agreement, length_slope, log_length
from judge.differences import paired_differences
from judge.records import Status
from judge.report._drill import is_gap
from judge.report._facts import member_estimates, member_facts
from judge.report._source import Source

CONFIDENCE = 0.95
MOST_PAIRS_OF_ALL = 8
"""Up to so many models every two are compared; of more, each with the first."""
_SEED = 0

Json = dict[str, Any]


def heatmap(questions: Sequence[Json], criteria: Sequence[str], models: Sequence[str]) -> Json:
    """The ``heatmap`` block: question × criterion for every model.

    ``rows`` are the questions in the order of the report, grouped by category (in the order of
    their first appearance). ``scores[m][c]`` is the mean over the scored answers of model m, null
    where there is none; ``states[m][c]`` is scored, partly (some answers are missing), unscored,
    open, not_applicable, or absent (the model did not answer).
    """
    numbered = list(enumerate(questions, 1))
    order = {name: at for at, name in enumerate(dict.fromkeys(q["category"] for q in questions))}
    numbered.sort(key=lambda entry: order[entry[1]["category"]])
    rows = []
    for number, question in numbered:
        cells = [[_cell(question, model, at) for at in range(len(criteria))] for model in models]
        rows.append(
            {
                "question_id": question["question_id"],
                "number": number,
                "category": question["category"],
                "scores": [[score for score, _ in of_model] for of_model in cells],
                "states": [[state for _, state in of_model] for of_model in cells],
            }
        )
    return {"criteria": list(criteria), "models": list(models), "rows": rows}


def _cell(question: Json, model: str, criterion: int) -> tuple[float | None, str]:
    found = [a["verdicts"][criterion] for a in question["answers"] if a["model"] == model]
    scores = [verdict["score"] for verdict in found if verdict["score"] is not None]
    gaps = [verdict["status"] for verdict in found if is_gap(verdict)]
    if scores:
        return sum(scores) / len(scores), "partly" if gaps else Status.SCORED.value
    if not found:
        return None, "absent"
    if not gaps:
        return None, Status.NOT_APPLICABLE.value
    return None, Status.UNSCORED.value if Status.UNSCORED in gaps else "open"


def differences(source: Source) -> list[Json]:
    """The ``differences`` block: paired differences of every two models, first less second.

    Per criterion and for the overall, over the questions on which both have a score; a question
    counts once. Of more than `MOST_PAIRS_OF_ALL` models each is compared with the first.
    """
    names = [criterion.criterion for criterion in source.rubric.criteria]
    tables = {model: _question_means(source, model, names) for model in source.models}
    models = source.models
    if len(models) <= MOST_PAIRS_OF_ALL:
        pairs = list(combinations(models, 2))
    else:
        pairs = [(models[0], other) for other in models[1:]]
    return [
        entry
        for first, second in pairs
        for entry in _pair_differences(first, second, tables, ["overall", *names])
    ]


def _pair_differences(
    first: str,
    second: str,
    tables: Mapping[str, NDArray[np.float64]],
    names: Sequence[str],
) -> Iterator[Json]:
    """The differences of two models; their means are over the common questions, too."""
    deltas = tables[first] - tables[second]
    # The same draws for every pair: the numbers of one do not depend on the others.
    rng = np.random.default_rng(_SEED)
    found = paired_differences(deltas, confidence=CONFIDENCE, rng=rng)
    for at, (name, difference) in enumerate(zip(names, found, strict=True)):
        common = ~np.isnan(deltas[:, at])
        yield {
            "first": first,
            "second": second,
            "criterion": name,
            "first_mean": float(tables[first][common, at].mean()) if difference else None,
            "second_mean": float(tables[second][common, at].mean()) if difference else None,
            "value": None if difference is None else difference.value,
            "low": None if difference is None else difference.low,
            "high": None if difference is None else difference.high,
            "confidence": CONFIDENCE,
            "n_questions": 0 if difference is None else difference.n_questions,
        }


def _question_means(source: Source, model: str, names: Sequence[str]) -> NDArray[np.float64]:
    """(n_questions, 1 + n_criteria) means over a model's scored answers, NaN where none is."""
    rows = {name: at for at, name in enumerate(source.questions)}
    columns = {name: at for at, name in enumerate(["overall", *names])}
    found = pl.concat(
        [
            source.scores.select("question_id", "model", "criterion", "score"),
            source.overalls.select(
                "question_id", "model", pl.lit("overall").alias("criterion"), score="overall"
            ),
        ]
    )
    means = (
        found.filter(pl.col("model") == model, pl.col("score").is_not_null())
        .group_by("question_id", "criterion")
        .agg(pl.col("score").mean())
    )
    table = np.full((len(rows), len(columns)), np.nan)
    for question, criterion, score in means.iter_rows():
        if criterion in columns:
            table[rows[question], columns[criterion]] = score
    return table


def length(questions: Sequence[Json], criteria: Sequence[str]) -> Json:
    """The ``length`` block: the slope of every criterion's score on the length of the answer.

    Answers without a word are left out; ``without_words`` counts them.
    """
    everything = [(q["question_id"], a) for q in questions for a in q["answers"]]
    answers = [(q, a) for q, a in everything if a["words"]]
    slopes = []
    for at, name in enumerate(criteria):
        scored = [(q, a, a["verdicts"][at]["score"]) for q, a in answers]
        scored = [entry for entry in scored if entry[2] is not None]
        slope = length_slope(
            np.array([score for _, _, score in scored], np.float64),
            log_length([a["words"] for _, a, _ in scored]),
            [a["model"] for _, a, _ in scored],
            [q for q, _, _ in scored],
            confidence=CONFIDENCE,
        )
        slopes.append({"criterion": name, **asdict(slope)})
    return {
        "unit": "words",
        "without_words": len(everything) - len(answers),
        "slopes": slopes,
    }


def halo_block(questions: Sequence[Json], criteria: Sequence[str]) -> Json:
    """The ``halo`` block: how the criteria move together."""
    answers = [(q["question_id"], a) for q in questions for a in q["answers"]]
    scores = np.array(
        [[np.nan if v["score"] is None else v["score"] for v in a["verdicts"]] for _, a in answers],
        np.float64,
    ).reshape(len(answers), len(criteria))
    found = halo(
        scores,
        [a["model"] for _, a in answers],
        [q for q, _ in answers],
        confidence=CONFIDENCE,
    )
    block = asdict(found)
    block |= {
        "matrix": [list(row) for row in found.matrix],
        "answers": [list(row) for row in found.answers],
        "flat": [criteria[at] for at in found.flat],
    }
    return {"criteria": list(criteria), **block}


def panel(source: Source) -> Json | None:
    """The ``panel`` block: each judge beside the others, and how far they agree; None for one."""
    if not source.panel:
        return None
    scored = source.scores.filter(pl.col("status") == Status.SCORED.value)
    return {
        "judges": [
            {
                **member_facts(source, member),
                "estimates": [asdict(estimate) for estimate in member_estimates(source, member)],
            }
            for member in source.members
        ],
        "spread": [
            {
                "criterion": name,
                "answers": len(of_criterion),
                "mean_sd": of_criterion["sd"].mean(),
                "largest_sd": of_criterion["sd"].max(),
            }
            for name in (criterion.criterion for criterion in source.rubric.criteria)
            for of_criterion in [scored.filter(pl.col("criterion") == name)]
        ],
        "agreement": _agreements(source),
    }


def _agreements(source: Source) -> list[Json]:
    key = ["question_id", "model", "answer_sample", "criterion"]
    found = []
    for first, second in combinations(source.members, 2):
        both = (
            first.scores.drop_nulls("score")
            .select(*key, "score", "level")
            .join(
                second.scores.drop_nulls("score").select(*key, "score", "level"),
                on=key,
                suffix="_second",
            )
            .sort(key)
        )
        for criterion in source.rubric.criteria:
            rows = both.filter(pl.col("criterion") == criterion.criterion)
            found.append(
                {
                    "first": first.judge,
                    "second": second.judge,
                    "criterion": criterion.criterion,
                    **_agreement(rows),
                }
            )
    return found


def _agreement(rows: pl.DataFrame) -> Json:
    """Agreement of two judges on answers that both scored, as JSON."""
    agreement = judge_agreement(
        rows["level"].to_numpy(),
        rows["level_second"].to_numpy(),
        rows["model"].to_list(),
        rows["question_id"].to_list(),
        confidence=CONFIDENCE,
        rng=np.random.default_rng(_SEED),
    )
    by_question = (
        rows.group_by("question_id", maintain_order=True)
        .agg((pl.col("score") - pl.col("score_second")).mean().alias("delta"))["delta"]
        .to_numpy()
    )
    difference = None
    if len(by_question):
        (difference,) = paired_differences(
            by_question[:, None], confidence=CONFIDENCE, rng=np.random.default_rng(_SEED)
        )
    return {
        "n": agreement.n_answers,
        "n_questions": agreement.n_questions,
        "difference": None if difference is None else difference.value,
        "low": None if difference is None else difference.low,
        "high": None if difference is None else difference.high,
        "spearman": agreement.spearman,
        "spearman_low": agreement.low,
        "spearman_high": agreement.high,
        "note": agreement.note,
        "exact": agreement.exact,
        "within_one": agreement.within_one,
        "confidence": CONFIDENCE,
    }
