"""The score of a panel: the mean over its judges, where every one of them has a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from judge.aggregation._shared import ANSWER, SCORE_SCHEMA, require_unique
from judge.errors import UsageError
from judge.records import ScoreKind, Status


def panel_scores(
    frames: Sequence[pl.DataFrame], ruler_of: Mapping[str, str], judge: str
) -> pl.DataFrame:
    """One row per answer and criterion: the mean over the judges of a panel.

    ``frames`` are the scores of the judges (see `answer_scores`), in the order of the panel;
    ``ruler_of`` gives the panel's ruler per criterion, ``judge`` the panel's name. The result has
    the same columns, with kind ``panel``:
    ``status``: scored only where every judge has a score, so that a mean never stands for fewer
    judges than it says; unscored where a judge is; not_applicable where all say so. Where nothing
    is unscored and a judge has no verdict yet there is no row: the score is open;
    ``reason``: of an unscored row, that of the first judge (in order) that is unscored;
    ``reasons``: those of all judges;
    ``score``, ``level``: means over the judges; ``sd``: the standard deviation between the judges'
    scores, null below two judges; ``k``: judges that scored, ``k_wanted``: judges of the panel
    (0 where the criterion does not apply). Rows are sorted by answer and criterion.

    Raises ValueError without judges, and UsageError for a judge that is there twice, for a
    criterion without ruler, and where one judge scored what does not apply to another.
    """
    if not frames:
        raise ValueError("a panel needs at least one judge")
    _require_different_judges(frames)
    size = len(frames)
    key = [*ANSWER, "criterion"]
    for frame in frames:
        require_unique(frame, key, "scores")
    members = pl.concat(
        [
            frame.select(*key, "status", "reason", "reasons", "score", "level").with_columns(
                pl.lit(at).alias("_at")
            )
            for at, frame in enumerate(frames)
        ]
    ).sort([*key, "_at"])
    _require_rulers(members["criterion"].unique(), ruler_of)
    scored = pl.col("status") == Status.SCORED.value
    excluded = pl.col("status") == Status.NOT_APPLICABLE.value
    unscored = pl.col("status") == Status.UNSCORED.value
    rows = members.group_by(key, maintain_order=True).agg(
        scored.sum().cast(pl.Int64).alias("k"),
        excluded.sum().cast(pl.Int64).alias("_excluded"),
        pl.len().cast(pl.Int64).alias("_rows"),
        pl.col("reason").filter(unscored).first().alias("reason"),
        pl.col("reasons").explode().drop_nulls().sort().alias("reasons"),
        pl.col("score").filter(scored).mean().alias("score"),
        pl.col("level").filter(scored).mean().alias("level"),
        pl.col("score").filter(scored).std().alias("sd"),
    )
    _require_one_view(rows)
    complete = pl.col("k") == size
    status = (
        pl.when(pl.col("reason").is_not_null())
        .then(pl.lit(Status.UNSCORED.value))
        .when(complete)
        .then(pl.lit(Status.SCORED.value))
        .when(pl.col("_excluded") == size)
        .then(pl.lit(Status.NOT_APPLICABLE.value))
    )
    return (
        rows.with_columns(
            status.alias("status"),
            pl.when(complete).then(pl.col("score")).alias("score"),
            pl.when(complete).then(pl.col("level")).alias("level"),
            pl.when(complete).then(pl.col("sd")).alias("sd"),
            pl.when(pl.col("_excluded") == size).then(0).otherwise(size).alias("k_wanted"),
            pl.col("criterion")
            .replace_strict(dict(ruler_of), return_dtype=pl.String)
            .alias("ruler"),
            pl.lit(judge).alias("judge"),
            pl.lit(ScoreKind.PANEL.value).alias("kind"),
            pl.lit(None).alias("allowed_mass"),
        )
        .filter(pl.col("status").is_not_null())
        .select(pl.col(name).cast(kind) for name, kind in SCORE_SCHEMA.items())
    )


def _require_different_judges(frames: Sequence[pl.DataFrame]) -> None:
    names = [sorted(frame["judge"].unique()) for frame in frames]
    for name in {name for of_frame in names for name in of_frame}:
        if sum(name in of_frame for of_frame in names) > 1:
            raise UsageError(
                f"{name} sits on the panel more than once; its errors would count as agreement. "
                "Name every judge once."
            )


def _require_rulers(criteria: pl.Series, ruler_of: Mapping[str, str]) -> None:
    lacking = sorted(set(criteria) - set(ruler_of))
    if lacking:
        raise UsageError(
            f"The panel has no ruler for {', '.join(lacking)}. Score these criteria with every "
            "judge of the panel first."
        )


def _require_one_view(rows: pl.DataFrame) -> None:
    """Raise UsageError where a criterion applies for one judge of the panel but not for another."""
    torn = rows.filter((pl.col("_excluded") > 0) & (pl.col("_excluded") < pl.col("_rows")))
    if not torn.is_empty():
        row = torn.row(0, named=True)
        raise UsageError(
            f"{row['question_id']} × {row['model']} × {row['criterion']}: not applicable for one "
            "judge of the panel, but not for another. Score with one rubric for all judges."
        )
