"""What calibration, comparison and gate start from: a study with its overall, and its origin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from judge.canonical import digest
from judge.report import OFFLINE_PARTIAL_FROM
from judge.rubric import Rubric
from judge.rulers import panel_ruler
from judge.simulated_raters import PREFIX
from judge.study import Study, overall_function
from judge.weights import Weights

if TYPE_CHECKING:
    import polars as pl

RATING = (
    "question_id", "model", "sample", "criterion", "rater", "rating", "scale_min", "scale_max",
)  # fmt: skip
"""The columns of ratings that a study is made from."""
OFFLINE = "offline"
_NAMED = 3
NO_RATINGS = (
    "{}: No rating of a judged answer is left. Import ratings of these answers (judge import "
    "ratings, or judge rate export and import), or name another run."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A study with its overall, and where it comes from.

    ``rulers`` gives criterion → ruler (of a panel: the panel's) without the overall; ``hashes``
    are content hashes of the scores and the ratings that were used; ``notes`` say in words what was
    left out. ``judge_samples`` is how many samples of a judge one score is the mean of, None where
    scores are expectations or where that is not known. ``texts`` holds (question, answer) per
    answer of the study where they are known. ``from_file``: the scores are those of files, which no
    command here can fill up.
    """

    study: Study
    rulers: Mapping[str, str]
    judge: str
    rubric: Rubric
    weights: Weights
    stage: str | None
    hashes: Mapping[str, str]
    notes: tuple[str, ...]
    source: str
    judge_samples: int | None = None
    texts: tuple[tuple[str, str], ...] | None = None
    from_file: bool = False

    @property
    def offline(self) -> bool:
        """Whether the offline baseline gave the scores: fixed formulas, not an LLM."""
        return self.judge == OFFLINE

    @property
    def partial_from(self) -> int | None:
        """From how many scored criteria on an answer has an overall; None where all have to be."""
        return OFFLINE_PARTIAL_FROM if self.offline else None

    @property
    def synthetic(self) -> bool:
        """Whether any rating is a simulated one."""
        return any(name.startswith(PREFIX) for name in self.study.ratings.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which weights make the overall, and for files which rubric names the criteria."""

    weights: str
    stage: str | None
    rubric: str | None = None


def evidence_from(
    study: Study,
    *,
    rulers: Mapping[str, str],
    judge: str,
    rubric: Rubric,
    weights: Weights,
    stage: str | None,
    notes: tuple[str, ...],
    source: str,
    judge_samples: int | None,
    texts: tuple[tuple[str, str], ...] | None,
    from_file: bool,
) -> Evidence:
    """The evidence of a study without overall, which is added here, with hashes and last notes."""
    found = Evidence(
        study=study,
        rulers={name: rulers[name] for name in study.criteria if name in rulers},
        judge=judge,
        rubric=rubric,
        weights=weights,
        stage=stage,
        hashes=_hashes(study),
        notes=(*notes, *_raters(study), *_unused_weights(study, weights, stage)),
        source=source,
        judge_samples=judge_samples,
        texts=texts,
        from_file=from_file,
    )
    overall = overall_function(study, rubric, weights, stage, partial_from=found.partial_from)
    return replace(found, study=study.with_overall(overall))


def _unused_weights(study: Study, weights: Weights, stage: str | None) -> tuple[str, ...]:
    """A note where the profile weighs by category and no question has one."""
    if not weights.categories or stage is not None or any(study.categories):
        return ()
    return (
        f"The weights {weights.name} differ by category, but no question here has one (files of "
        "verdicts carry none): the general weights count for all of them.",
    )


def _raters(study: Study) -> tuple[str, ...]:
    """What the names of the raters give reason to say."""
    names = study.ratings.names
    notes = []
    if len(names) == 1:
        notes.append(
            f"All ratings are by {names[0]}: how severely one person rates cannot be told from how "
            "good the answers are, and the intervals do not contain it."
        )
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.strip().casefold(), []).append(name)
    notes += [
        f"{' and '.join(same)} count as {len(same)} people."
        for same in alike.values()
        if len(same) > 1
    ]
    return tuple(notes)


def _hashes(study: Study) -> dict[str, str]:
    """Hashes of what was used: the same data in any order give the same."""
    answers = [
        [study.question_ids[q], study.model_names[m], int(s)]
        for q, m, s in zip(study.questions, study.models, study.samples, strict=True)
    ]
    cells = study.scores.round(12).tolist()
    said = study.ratings
    ratings = sorted(
        [*answers[row], study.criteria[at], said.names[rater], round(float(value), 12)]
        for row, at, rater, value in zip(
            said.answers, said.criteria, said.raters, said.values, strict=True
        )
    )
    plain = [[[None if math.isnan(x) else x for x in row] for row in cell] for cell in cells]
    return {
        "scores": digest([list(study.criteria), list(study.judges), answers, plain]).hex(),
        "ratings": digest(ratings).hex(),
    }


def ruler_of(members: Sequence[str]) -> str:
    """The ruler of a judge, or of a panel of several."""
    return members[0] if len(members) == 1 else panel_ruler(members)


def scored_only(
    ratings: pl.DataFrame, scores: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The ratings of answers and criteria that were judged, and a note on the others."""
    import polars as pl

    judged = scores.select(
        "question_id", "model", pl.col("answer_sample").alias("sample"), "criterion"
    ).unique()
    kept = ratings.join(judged, on=["question_id", "model", "sample", "criterion"], how="semi")
    left = ratings.height - kept.height
    if not left:
        return kept, ()
    lost = ratings.join(judged, on=["question_id", "model", "sample", "criterion"], how="anti")
    named = [
        " × ".join(map(str, key))
        for key in lost.select("question_id", "model", "criterion")
        .unique(maintain_order=True)
        .head(_NAMED)
        .iter_rows()
    ]
    return kept, (
        f"{left} of {ratings.height} ratings are of answers or criteria that were not judged: "
        f"{', '.join(named)}{', ...' if lost.height > _NAMED else ''}.",
    )
