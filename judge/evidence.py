"""What calibration and estimates start from: a study, its rulers, and what was left out of it.

Read from a ledger (a run and the ratings of its answers) or straight from two files.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from judge.canonical import digest
from judge.errors import UsageError
from judge.examples import key_of
from judge.records import OVERALL, Rating, ScoreKind, Verdict
from judge.report import OFFLINE_PARTIAL_FROM, Source, load_source
from judge.resources import shipped
from judge.rubric import Rubric
from judge.rulers import panel_ruler, require_one_ruler
from judge.simulated_raters import PREFIX
from judge.study import Study, overall_function, plain_rubric, study_of
from judge.tables import UNSPECIFIED_RULER
from judge.weights import Weights, load_profile

if TYPE_CHECKING:
    import polars as pl

    from judge.ledger import Ledger

_RATING = (
    "question_id", "model", "sample", "criterion", "rater", "rating", "scale_min", "scale_max",
)  # fmt: skip


_NAMED = 3
_NO_RATINGS = (
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
    answer of the study where they are known.
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


def from_ledger(
    ledger: Ledger,
    run: str | None,
    choice: Choice,
    *,
    probabilities: Mapping[tuple[str, str, int, str], float] | None = None,
    unrated: bool = False,
) -> Evidence:
    """The scores of a run (the newest if None) and the ratings of its answers.

    Ratings of answers that the run did not score are left out, and so are those of answers that its
    judge could have been shown as examples: the notes say how many. Raises LedgerError without
    such a run, UsageError where no rating is left, unless ``unrated`` allows that.
    """
    import polars as pl

    source = load_source(ledger, run, choice.weights, choice.stage)
    ratings, unsure = _of_one_text(ledger, ledger.ratings().select(_RATING))
    scores = pl.concat(
        [_of_wanted(member.scores, int(member.run.body["samples"])) for member in source.members]
    )
    ratings, notes = _scored_only(ratings, scores)
    ratings, shown = _without_examples(ratings, source)
    if ratings.is_empty() and not unrated:
        raise UsageError(_NO_RATINGS.format(" ".join([source.run.run, *unsure, *notes, *shown])))
    study = study_of(
        scores,
        ratings,
        criteria=[criterion.criterion for criterion in source.rubric.criteria],
        categories=source.categories,
        words=_words(source),
        probabilities=probabilities,
    )
    members = [member.run.body["rulers"] for member in source.members]
    return _evidence(
        study,
        rulers={name: _ruler([of[name] for of in members]) for name in members[0]},
        judge=str(source.run.body["judge"]),
        rubric=source.rubric,
        weights=source.weights,
        stage=choice.stage,
        notes=(*unsure, *notes, *shown, *_picked(study)),
        source=f"run {source.run.run}",
        partial_from=OFFLINE_PARTIAL_FROM if source.offline else None,
        judge_samples=_judge_samples(source),
        texts=_texts(study, source),
    )


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
    shipped rubric knows are taken for its. Raises UsageError
    for a judge with several rulers on a criterion, and where nothing is left to calibrate on.
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
        [tuple(getattr(rating, name) for name in _RATING) for rating in ratings],
        schema=_rating_schema(),
        orient="row",
    )
    rated, notes = _scored_only(rated, scores)
    if rated.is_empty() and not unrated:
        raise UsageError(_NO_RATINGS.format(" ".join([source, *notes])))
    study = study_of(scores, rated, criteria=wanted)
    rulers = {}
    for name in wanted:
        of = scores.filter(pl.col("criterion") == name)
        each = [sorted(of.filter(pl.col("judge") == judge)["ruler"].unique()) for judge in judges]
        for found in each:
            require_one_ruler(name, found)
        rulers[name] = _ruler([found[0] for found in each if found])
    return _evidence(
        study,
        rulers=rulers,
        judge=judges[0] if len(judges) == 1 else f"panel: {', '.join(judges)}",
        rubric=rubric,
        weights=load_profile(choice.weights, rubric),
        stage=choice.stage,
        notes=notes,
        source=source,
        partial_from=None,
        judge_samples=None,
        texts=None,
    )


def _evidence(
    study: Study,
    *,
    rulers: Mapping[str, str],
    judge: str,
    rubric: Rubric,
    weights: Weights,
    stage: str | None,
    notes: tuple[str, ...],
    source: str,
    partial_from: int | None,
    judge_samples: int | None,
    texts: tuple[tuple[str, str], ...] | None,
) -> Evidence:
    overall = overall_function(study, rubric, weights, stage, partial_from=partial_from)
    return Evidence(
        study=study.with_overall(overall),
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
    )


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


def _of_wanted(scores: pl.DataFrame, samples: int) -> pl.DataFrame:
    """The scores of a run with all samples that it asked for as wanted, also those still open."""
    import polars as pl

    wanted = pl.col("k_wanted")
    return scores.with_columns(
        pl.when(wanted > 0).then(pl.max_horizontal(wanted, samples)).otherwise(0).alias("k_wanted")
    )


def _ruler(members: Sequence[str]) -> str:
    return members[0] if len(members) == 1 else panel_ruler(members)


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


def _scored_only(
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


def _rating_schema() -> dict[str, Any]:
    import polars as pl

    numbers = {"rating", "scale_min", "scale_max"}
    return {
        name: pl.Float64 if name in numbers else pl.Int64 if name == "sample" else pl.String
        for name in _RATING
    }
