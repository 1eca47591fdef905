"""Evidence of a ledger: a run, and the ratings of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from judge.errors import UsageError
from judge.evidence._evidence import (
    NO_RATINGS,
    RATING,
    Choice,
    Evidence,
    evidence_from,
    ruler_of,
    scored_only,
)
from judge.examples import key_of
from judge.records import ScoreKind
from judge.report import Source, load_source
from judge.study import Study, study_of

if TYPE_CHECKING:
    import polars as pl

    from judge.ledger import Ledger


def from_ledger(
    ledger: Ledger,
    run: str | None,
    choice: Choice,
    *,
    probabilities: Mapping[tuple[str, str, int, str], float] | None = None,
    unrated: bool = False,
    frozen: frozenset[tuple[str, str, int]] = frozenset(),
) -> Evidence:
    """The scores of a run (the newest if None) and the ratings of its answers.

    Ratings of answers that the run did not score are left out, and so are those of answers that its
    judge could have been shown as examples, and of the ``frozen`` ones (question, model, sample),
    which watch a judge from night to night: the notes say how many. Raises LedgerError without
    such a run, UsageError where no rating is left, unless ``unrated`` allows that.
    """
    import polars as pl

    source = load_source(ledger, run, choice.weights, choice.stage)
    ratings, aside = _without_frozen(ledger.ratings().select(RATING), frozen)
    ratings, unsure = _of_one_text(ledger, ratings)
    scores = pl.concat(
        [_of_wanted(member.scores, int(member.run.body["samples"])) for member in source.members]
    )
    ratings, notes = scored_only(ratings, scores)
    ratings, shown = _without_examples(ratings, source)
    if ratings.is_empty() and not unrated:
        told = [f"{source.run.run}:", *aside, *unsure, *notes, *shown]
        raise UsageError(NO_RATINGS.format(" ".join(told).rstrip(":")))
    study = study_of(
        scores,
        ratings,
        criteria=[criterion.criterion for criterion in source.rubric.criteria],
        categories=source.categories,
        words=_words(source),
        probabilities=probabilities,
    )
    members = [member.run.body["rulers"] for member in source.members]
    return evidence_from(
        study,
        rulers={name: ruler_of([of[name] for of in members]) for name in members[0]},
        judge=str(source.run.body["judge"]),
        rubric=source.rubric,
        weights=source.weights,
        stage=choice.stage,
        notes=(*aside, *unsure, *notes, *shown, *_picked(study)),
        source=f"run {source.run.run}",
        judge_samples=_judge_samples(source),
        texts=_texts(study, source),
        from_file=False,
    )


def _of_wanted(scores: pl.DataFrame, samples: int) -> pl.DataFrame:
    """The scores of a run with all samples that it asked for as wanted, also those still open."""
    import polars as pl

    wanted = pl.col("k_wanted")
    return scores.with_columns(
        pl.when(wanted > 0).then(pl.max_horizontal(wanted, samples)).otherwise(0).alias("k_wanted")
    )


def _without_frozen(
    ratings: pl.DataFrame, frozen: frozenset[tuple[str, str, int]]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The ratings less those of answers that watch a judge, which are used for nothing else."""
    import polars as pl

    keys = list(ratings.select("question_id", "model", "sample").iter_rows())
    hidden = [key in frozen for key in keys]
    if not any(hidden):
        return ratings, ()
    count = len(frozen.intersection(keys))
    note = (
        f"{count} rated answers are set aside as anchors of a series of nights and not used here."
    )
    return ratings.filter(~pl.Series(hidden, dtype=pl.Boolean)), (note,)


def _of_one_text(ledger: Ledger, ratings: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The ratings less those of answers that the ledger holds in several texts.

    A rating names question, model and sample: where these were answered anew on another occasion,
    nobody can tell which text it is about.
    """
    import polars as pl

    texts: dict[tuple[str, str, int], set[str]] = {}
    for row in ledger.answers(models=sorted(ratings["model"].unique())):
        key = (row.answer.question_id, row.answer.model, row.answer.sample)
        texts.setdefault(key, set()).add(row.answer.answer)
    unsure = [
        len(texts.get(key, ())) > 1
        for key in ratings.select("question_id", "model", "sample").iter_rows()
    ]
    kept = ratings.filter(~pl.Series(unsure, dtype=pl.Boolean))
    left = ratings.height - kept.height
    note = (
        f"{left} of {ratings.height} ratings are left out: the ledger holds several texts of these "
        "answers (of several occasions), and a rating does not say which one it is about."
    )
    return kept, (note,) if left else ()


def _picked(study: Study) -> tuple[str, ...]:
    """A note on ratings that count with their chance in estimates and not elsewhere."""
    left = len(study.ratings.values) - len(study.drawn().ratings.values)
    note = (
        f"{left} of {len(study.ratings.values)} ratings are of answers that someone had to look "
        "at, or whose chance of being drawn is not known, beside drawn ones: maps, agreement, "
        "differences and what is said of unrated models are made without them."
    )
    return (note,) if left else ()


def _without_examples(
    ratings: pl.DataFrame, source: Source
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The ratings less those that the judge could have seen as few-shot examples."""
    import polars as pl

    shown = _example_keys(source)
    if not shown:
        return ratings, ()
    texts = {
        (row.answer.question_id, row.answer.model, row.answer.sample): key_of(
            source.questions[row.answer.question_id].question, row.answer.answer
        )
        for row in source.rows
    }
    seen = [
        texts[question, model, sample] in shown.get(criterion, ())
        for question, model, sample, criterion in ratings.select(
            "question_id", "model", "sample", "criterion"
        ).iter_rows()
    ]
    kept = ratings.filter(~pl.Series(seen, dtype=pl.Boolean))
    left = ratings.height - kept.height
    note = (
        f"{left} of {ratings.height} ratings are left out: the judge could have seen those answers "
        "as examples (--shots)."
    )
    return kept, (note,) if left else ()


def _example_keys(source: Source) -> dict[str, set[str]]:
    """Criterion → keys of the answers in any judge's pool of examples."""
    keys: dict[str, set[str]] = {}
    for member in source.members:
        stored = member.run.body.get("examples")
        if stored is None:
            continue
        body: Any = source.ledger.document(bytes.fromhex(stored))
        for criterion, rated in body["examples"].items():
            keys.setdefault(criterion, set()).update(key for key, _ in rated)
    return keys


def _judge_samples(source: Source) -> int | None:
    kinds = {kind for member in source.members for kind in member.scores["kind"].unique()}
    if source.offline or kinds != {ScoreKind.SAMPLES.value}:
        return None
    return min(int(member.run.body["samples"]) for member in source.members)


def _words(source: Source) -> dict[tuple[str, str, int], int]:
    from judge.diagnostics import word_count

    return {
        (row.answer.question_id, row.answer.model, row.answer.sample): word_count(row.answer.answer)
        for row in source.rows
    }


def _texts(study: Study, source: Source) -> tuple[tuple[str, str], ...]:
    found: dict[tuple[str, str, int], str] = {
        (row.answer.question_id, row.answer.model, row.answer.sample): row.answer.answer
        for row in source.rows
    }
    return tuple(
        (
            source.questions[study.question_ids[question]].question,
            found[study.question_ids[question], study.model_names[model], int(sample)],
        )
        for question, model, sample in zip(
            study.questions, study.models, study.samples, strict=True
        )
    )
