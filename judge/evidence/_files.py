"""Evidence of files: verdicts, and ratings of the same answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from judge.errors import UsageError
from judge.evidence._evidence import (
    NO_RATINGS,
    OFFLINE,
    RATING,
    Choice,
    Evidence,
    evidence_from,
    ruler_of,
    scored_only,
)
from judge.records import OVERALL, Rating, ScoreKind, Status, Verdict
from judge.resources import shipped
from judge.rubric import Rubric
from judge.rulers import require_one_ruler
from judge.study import plain_rubric, study_of
from judge.tables import UNSPECIFIED_RULER
from judge.weights import load_profile

if TYPE_CHECKING:
    import polars as pl


def from_files(
    verdicts: Sequence[Verdict],
    ratings: Sequence[Rating],
    choice: Choice,
    *,
    source: str,
    unrated: bool = False,
) -> Evidence:
    """The verdicts and ratings of two files; several judges are a panel.

    The criteria are those of the verdicts, or of the rubric where one is named; criteria that a
    shipped rubric knows are taken for its. A criterion of which no model has a verdict on a
    question does not apply to that question; where some model has one, also an unscored one, it is
    missing of the others. Raises UsageError for a judge with several rulers on a criterion, and
    where nothing is left to calibrate on.
    """
    import polars as pl

    from judge.aggregation import answer_scores, verdict_frame

    _require_one_meaning(verdicts, source)
    frame = verdict_frame(_on_their_scales(verdicts))
    if OVERALL in set(frame["criterion"]):
        raise UsageError(
            f"{source}: a criterion of the name {OVERALL}, which is what the weighted mean of the "
            "criteria is called here. Rename or leave out these rows."
        )
    rubric = _rubric(set(frame["criterion"]), choice)
    wanted = [criterion.criterion for criterion in rubric.criteria]
    frame = frame.filter(pl.col("criterion").is_in(wanted))
    parts = [
        answer_scores(part)
        for _, part in sorted(frame.group_by("judge"), key=lambda group: str(group[0]))
    ]
    if not parts:
        raise UsageError(
            f"{source}: no verdict on a criterion of {rubric.name}. Name another rubric."
        )
    scores = pl.concat(parts)
    wanted = [name for name in wanted if name in set(scores["criterion"])]
    judges = sorted(scores["judge"].unique())
    rated = pl.DataFrame(
        [tuple(getattr(rating, name) for name in RATING) for rating in ratings],
        schema=_rating_schema(),
        orient="row",
    )
    rated, notes = scored_only(rated, scores)
    if rated.is_empty() and not unrated:
        raise UsageError(NO_RATINGS.format(" ".join([source, *notes])))
    scores, unasked = _with_unasked(scores, wanted)
    study = study_of(scores, rated, criteria=wanted)
    rulers = {}
    for name in wanted:
        of = scores.filter((pl.col("criterion") == name) & pl.col("ruler").is_not_null())
        each = [sorted(of.filter(pl.col("judge") == judge)["ruler"].unique()) for judge in judges]
        for found in each:
            require_one_ruler(name, found)
        rulers[name] = ruler_of([found[0] for found in each if found])
    return evidence_from(
        study,
        rulers=rulers,
        judge=judges[0] if len(judges) == 1 else f"panel: {', '.join(judges)}",
        rubric=rubric,
        weights=load_profile(choice.weights, rubric),
        stage=choice.stage,
        notes=(*notes, *unasked),
        source=source,
        judge_samples=None if judges == [OFFLINE] else _judge_samples(scores),
        texts=None,
        from_file=True,
    )


def _with_unasked(
    scores: pl.DataFrame, criteria: Sequence[str]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The scores, and not_applicable for what no model has a row of on a question; with notes.

    A log whose tests ask for different criteria has no rows of the others. What one model has and
    another has not is missing, and stays so.
    """
    import polars as pl

    keys = ["question_id", "criterion"]
    answers = scores.select("question_id", "model", "answer_sample").unique(maintain_order=True)
    asked = scores.select(keys).unique()
    unasked = answers.join(pl.DataFrame({"criterion": list(criteria)}), how="cross").join(
        asked, on=keys, how="anti"
    )
    if unasked.is_empty():
        return scores, ()
    number = scores["question_id"].n_unique()
    counts = dict(unasked.group_by("criterion").agg(pl.col("question_id").n_unique()).iter_rows())
    parts = [f"{name} on {counts[name]}" for name in criteria if name in counts]
    note = (
        f"No verdict of any model, and so taken not to apply: {', '.join(parts)} of {number} "
        "questions. Where verdicts were lost instead, give them as rows with the status unscored."
    )
    rows = unasked.with_columns(
        pl.lit(scores["judge"][0]).alias("judge"),
        pl.lit(Status.NOT_APPLICABLE.value).alias("status"),
    )
    return pl.concat([scores, rows], how="diagonal"), (note,)


def _judge_samples(scores: pl.DataFrame) -> int | None:
    """How many samples of a judge most scores were wanted to be the mean of."""
    import polars as pl

    scored = scores.filter(pl.col("status") == Status.SCORED.value)
    if scored.is_empty() or set(scored["kind"]) != {ScoreKind.SAMPLES.value}:
        return None
    return int(scored["k_wanted"].mode().min())  # type: ignore[arg-type]  # of integers


def _require_one_meaning(verdicts: Sequence[Verdict], source: str) -> None:
    """Raise UsageError where one name stands for two things: a question, or a ruler."""
    wordings: dict[str, bytes] = {}
    rulers: dict[tuple[str, str], tuple[float, float, str]] = {}
    for one in verdicts:
        if one.question_hash is not None:
            first = wordings.setdefault(one.question_id, one.question_hash)
            if first != one.question_hash:
                raise UsageError(
                    f"{source}: {one.question_id} was judged in two wordings; their scores are not "
                    "compared. Score both models on the same question."
                )
        if one.score is None or one.ruler.startswith(UNSPECIFIED_RULER):
            continue
        meaning = (one.scale_min, one.scale_max, one.kind.value)
        known = rulers.setdefault((one.ruler, one.criterion), meaning)
        if known != meaning:
            raise UsageError(
                f"{source}: {one.criterion}: the ruler {one.ruler[:40]} gives {known[2]} on "
                f"{known[0]:g} to {known[1]:g} and {meaning[2]} on {meaning[0]:g} to "
                f"{meaning[1]:g}. Verdicts of one ruler have one scale and kind."
            )


def _on_their_scales(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, those without a ruler of their own under one that says at least their scale.

    A verdict without a score says nothing of the scale: it has that of its judge on the criterion.
    """
    scales: dict[tuple[str, str], set[str]] = {}
    for one in verdicts:
        if one.score is not None:
            known = scales.setdefault((one.judge, one.criterion), set())
            known.add(f"{one.scale_min:g} to {one.scale_max:g}")
    found = []
    for one in verdicts:
        known = scales.get((one.judge, one.criterion), set())
        scale = f"{one.scale_min:g} to {one.scale_max:g}"
        if one.score is None and len(known) == 1:
            (scale,) = known
        unnamed = one.ruler.startswith(UNSPECIFIED_RULER)
        found.append(replace(one, ruler=f"{one.ruler} on {scale}") if unnamed else one)
    return found


def _rubric(names: set[str], choice: Choice) -> Rubric:
    """The rubric that is named, else what a shipped one says of the criteria, else their names."""
    from judge.rubric import load_rubric

    if choice.rubric is not None:
        return load_rubric(choice.rubric)
    known = shipped_rubric(names)
    if known is None:
        return plain_rubric(sorted(names))
    return replace(known, criteria=tuple(one for one in known.criteria if one.criterion in names))


def shipped_rubric(names: Collection[str]) -> Rubric | None:
    """The first shipped rubric that knows all the criteria, whole; None where none does."""
    from judge.rubric import load_rubric

    rubrics = (load_rubric(path) for path in sorted(shipped("rubrics").glob("*.yaml")))
    return next(
        (
            one
            for one in rubrics
            if set(names) <= {criterion.criterion for criterion in one.criteria}
        ),
        None,
    )


def _rating_schema() -> dict[str, Any]:
    import polars as pl

    numbers = {"rating", "scale_min", "scale_max"}
    return {
        name: pl.Float64 if name in numbers else pl.Int64 if name == "sample" else pl.String
        for name in RATING
    }
