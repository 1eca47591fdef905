"""What calibration starts from: runs and files, and what is left out of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from judge.errors import UsageError
from judge.evidence import Choice, from_files, from_ledger
from judge.examples import key_of
from judge.ledger import Ledger, Run
from judge.records import Rating, Reason, ScoreKind, Status, Verdict
from judge.rubric import load_rubric
from tests.report_ledger import Plan, build

CHOICE = Choice(weights="equal", stage=None)


def verdict(question: str, judge: str, score: float, **changes: Any) -> Verdict:
    plain = Verdict(
        question_id=question, model="m", criterion="clarity", judge=judge, ruler=f"r-{judge}",
        status=Status.SCORED, level=score * 5, score=score,
    )  # fmt: skip
    return replace(plain, **changes)


def rating(question: str, rater: str, value: float, **changes: Any) -> Rating:
    plain = Rating(
        question_id=question, model="m", criterion="clarity", rater=rater, rating=value,
        scale_min=0, scale_max=4,
    )  # fmt: skip
    return replace(plain, **changes)


def test_files_of_two_judges_are_a_panel() -> None:
    verdicts = [verdict("q1", "a", 0.2), verdict("q1", "b", 0.4), verdict("q2", "a", 1.0)]
    found = from_files(verdicts, [rating("q1", "ann", 3)], CHOICE, source="v.jsonl")
    assert found.study.criteria == ("clarity", "overall")
    assert found.judge == "panel: a, b"
    np.testing.assert_allclose(found.study.panel[:, 0], [0.3, np.nan])
    np.testing.assert_allclose(found.study.human[:, 1], [0.75, np.nan])
    assert set(found.rulers) == {"clarity"}


def test_samples_of_a_judge_are_averaged() -> None:
    verdicts = [verdict("q1", "a", 0.2), verdict("q1", "a", 0.8, sample=1)]
    found = from_files(verdicts, [rating("q1", "ann", 3)], CHOICE, source="v.jsonl")
    assert found.study.scores[0, 0, 0] == pytest.approx(0.5)


def test_samples_that_a_file_says_were_lost_leave_the_score_open() -> None:
    verdicts = [
        verdict("q1", "a", 0.6),
        verdict("q1", "a", 0.9, sample=1),
        replace(
            verdict("q1", "a", 0.0, sample=2), status=Status.UNSCORED, reason=Reason.REFUSED,
            level=None, score=None,
        ),
        verdict("q2", "a", 0.6),
    ]  # fmt: skip
    study = from_files(verdicts, [], CHOICE, source="v.jsonl", unrated=True).study
    assert study.lowest is not None and study.highest is not None
    # (0.6 + 0.9 + 0) / 3 = .5 and (0.6 + 0.9 + 1) / 3 = .8333; the overall is clarity's.
    np.testing.assert_allclose(study.lowest[:, :, 0], [[0.5, 0.5], [0.6, 0.6]])
    np.testing.assert_allclose(study.highest[:, :, 0], [[2.5 / 3] * 2, [0.6] * 2])


def test_weights_by_category_that_no_question_has_are_told(tmp_path: Path) -> None:
    profile = tmp_path / "w.yaml"
    profile.write_text(
        "name: mine\nrubric: communication\nweights: {clarity: 1.0}\n"
        "categories: {sums: {clarity: 1.0}}\nstages: {late: {clarity: 1.0}}\n"
    )
    rows = [verdict("q1", "a", 0.6)]
    for stage, told in ((None, True), ("late", False)):
        choice = Choice(weights=str(profile), stage=stage)
        notes = from_files(rows, [], choice, source="v.jsonl", unrated=True).notes
        assert any("no question here has one" in note for note in notes) is told
    notes = from_files(rows, [], CHOICE, source="v.jsonl", unrated=True).notes
    assert not any("categor" in note for note in notes)


def test_a_judge_with_two_rulers_is_refused() -> None:
    verdicts = [verdict("q1", "a", 0.2), verdict("q2", "a", 0.2, ruler="other")]
    with pytest.raises(UsageError, match="2 rulers"):
        from_files(verdicts, [rating("q1", "ann", 3)], CHOICE, source="v.jsonl")


def test_ratings_of_unjudged_answers_are_left_out_and_counted() -> None:
    ratings = [rating("q1", "ann", 3), rating("q9", "ann", 3)]
    found = from_files([verdict("q1", "a", 0.2)], ratings, CHOICE, source="v.jsonl")
    assert found.notes[0] == (
        "1 of 2 ratings are of answers or criteria that were not judged: q9 × m × clarity."
    )
    with pytest.raises(UsageError, match=r"1 of 1 ratings .* No rating of a judged answer"):
        from_files([verdict("q1", "a", 0.2)], ratings[1:], CHOICE, source="v.jsonl")


def test_hashes_follow_the_data_and_not_its_order() -> None:
    verdicts = [verdict("q1", "a", 0.2), verdict("q2", "a", 0.4)]
    ratings = [rating("q1", "ann", 3), rating("q2", "bob", 2)]
    one = from_files(verdicts, ratings, CHOICE, source="x").hashes
    assert one == from_files(verdicts[::-1], ratings[::-1], CHOICE, source="y").hashes
    moved = from_files(verdicts, [ratings[0], rating("q2", "bob", 1)], CHOICE, source="x").hashes
    assert moved["scores"] == one["scores"]
    assert moved["ratings"] != one["ratings"]


def test_one_rater_and_names_that_look_alike_are_named() -> None:
    verdicts = [verdict("q1", "a", 0.2), verdict("q2", "a", 0.4)]
    alone = from_files(verdicts, [rating("q1", "ann", 3)], CHOICE, source="x")
    assert "All ratings are by ann" in alone.notes[-1]
    ratings = [rating("q1", "ann", 3), rating("q2", "Ann", 2)]
    assert from_files(verdicts, ratings, CHOICE, source="x").notes == (
        "Ann and ann count as 2 people.",
    )


def test_a_criterion_cannot_be_called_overall() -> None:
    verdicts = [verdict("q1", "a", 0.2, criterion="overall")]
    with pytest.raises(UsageError, match="of the name overall"):
        from_files(verdicts, [], CHOICE, source="x", unrated=True)


def test_without_a_ruler_the_scale_tells_verdicts_apart() -> None:
    plain = verdict("q1", "a", 0.2, ruler="unspecified/a")
    other = replace(plain, scale_max=10)
    one, two = (
        from_files([each], [], CHOICE, source="x", unrated=True).rulers["clarity"]
        for each in (plain, other)
    )
    assert (one, two) == ("unspecified/a on 0 to 5", "unspecified/a on 0 to 10")


def test_a_verdict_without_a_score_has_the_scale_of_its_judge() -> None:
    plain = verdict("q1", "a", 0.2, ruler="unspecified/a", scale_max=10)
    lost = replace(
        plain, question_id="q2", status=Status.UNSCORED, reason=Reason.REFUSED, score=None,
        level=None, scale_max=5,
    )  # fmt: skip
    found = from_files([plain, lost], [], CHOICE, source="x", unrated=True)
    assert found.rulers == {"clarity": "unspecified/a on 0 to 10"}
    other = verdict("q3", "a", 0.2, ruler="unspecified/a")
    with pytest.raises(UsageError, match="unspecified/a on 0 to 10, unspecified/a on 0 to 5"):
        from_files([plain, other], [], CHOICE, source="x", unrated=True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"question_id": "q1", "model": "z", "question_hash": b"2"},
            "q1 was judged in two wordings",
        ),
        ({"scale_max": 10}, "samples on 0 to 5 and samples on 0 to 10"),
        ({"kind": ScoreKind.LOGPROBS}, "samples on 0 to 5 and logprobs on 0 to 5"),
    ],
)
def test_one_name_for_two_things_is_refused(changes: dict[str, Any], says: str) -> None:
    first = verdict("q1", "a", 0.2, question_hash=b"1")
    other = replace(verdict("q2", "a", 0.4), **changes)
    with pytest.raises(UsageError, match=says):
        from_files([first, other], [], CHOICE, source="x", unrated=True)


def test_simulated_raters_are_known_by_their_names() -> None:
    verdicts = [verdict("q1", "a", 0.2)]
    assert not from_files(verdicts, [rating("q1", "ann", 3)], CHOICE, source="x").synthetic
    assert from_files(verdicts, [rating("q1", "synthetic-1", 3)], CHOICE, source="x").synthetic


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger, _ = build(tmp_path / "l.db", Plan(questions=6))
    answers = [row.answer for row in ledger.answers()]
    ledger.add_ratings(
        [
            Rating(
                question_id=answer.question_id, model=answer.model, sample=answer.sample,
                criterion=criterion, rater=rater, rating=3, scale_min=0, scale_max=5,
            )
            for answer in answers[:8]
            for criterion in ("clarity", "safety")
            for rater in ("ann", "bob")
        ]
    )  # fmt: skip
    yield ledger
    ledger.close()


def test_a_run_and_the_ratings_of_its_answers(ledger: Ledger) -> None:
    found = from_ledger(ledger, None, CHOICE)
    study = found.study
    assert len(study) == 12
    assert study.criteria[-1] == "overall"
    assert study.n_raters[:, study.column("clarity")].sum() == 16
    assert np.isfinite(study.words).all()
    assert found.texts is not None
    assert len(found.texts) == 12
    assert set(found.rulers) == set(study.criteria[:-1])
    # The overall needs all criteria, of which people rated two.
    assert np.isnan(study.human[:, -1]).all()


def test_samples_that_a_run_wanted_and_does_not_have_leave_scores_open(tmp_path: Path) -> None:
    plan = Plan(questions=6, models=("a", "b"), words=30, body={"samples": 2})
    ledger, _ = build(tmp_path / "two.db", plan)
    study = from_ledger(ledger, None, CHOICE, unrated=True).study
    ledger.close()
    assert study.lowest is not None and study.highest is not None
    # One of two samples is there: a score of s could have been s / 2 to (s + 1) / 2.
    there = ~np.isnan(study.scores[:, :-1])
    np.testing.assert_allclose(study.lowest[:, :-1][there], study.scores[:, :-1][there] / 2)
    np.testing.assert_allclose(study.highest[:, :-1][there], study.scores[:, :-1][there] / 2 + 0.5)


def test_ratings_of_an_answer_in_several_texts_are_left_out(ledger: Ledger) -> None:
    first = ledger.answers()[0].answer
    ledger.add_answers([replace(first, answer="No idea, go away.", occasion="night2")])
    found = from_ledger(ledger, None, CHOICE)
    column = found.study.column("clarity")
    assert found.study.n_raters[:, column].sum() == 14
    assert "several texts of these answers" in found.notes[0]


def test_answers_that_the_judge_may_have_seen_are_no_test_data(ledger: Ledger) -> None:
    run = ledger.run()
    assert run is not None
    rows = ledger.run_answers(run.run)
    row = next(row for row in rows if row.answer == ledger.answers()[0].answer)
    assert row.question is not None
    key = key_of(row.question.question, row.answer.answer)
    pool = {"shots": 1, "examples": {"clarity": [[key, 3.0]]}}
    document = ledger.add_document("examples", pool).hex()
    again = Run(
        run="20991121T001000-cccccc", kind="score", body={**run.body, "examples": document},
        started_at="2099-11-21T00:10:00+00:00",
    )  # fmt: skip
    asked = [(row.answer_id, row.question) for row in rows if row.question is not None]
    ledger.add_run(again, asked)
    study = from_ledger(ledger, again.run, CHOICE).study
    assert study.n_raters[:, study.column("clarity")].sum() == 14
    assert study.n_raters[:, study.column("safety")].sum() == 16
    assert "seen those answers" in from_ledger(ledger, again.run, CHOICE).notes[-1]


def test_what_no_model_was_asked_does_not_apply() -> None:
    rows = [
        verdict("q1", "a", 0.2, model=model, criterion="clarity") for model in ("m", "n")
    ] + [verdict("q2", "a", 0.4, model="m", criterion="depth")]  # fmt: skip
    rows.append(verdict("q2", "a", 0.0, model="n", criterion="clarity"))
    found = from_files(rows, [], CHOICE, source="v.jsonl", unrated=True)
    study = found.study
    cells = {
        (study.question_ids[q], study.model_names[m]): dict(
            zip(study.criteria, study.applicable[at].tolist(), strict=True)
        )
        for at, (q, m) in enumerate(zip(study.questions, study.models, strict=True))
    }
    assert not cells["q1", "m"]["depth"] and not cells["q1", "n"]["depth"]
    # One of the two models has each on q2: of the other it is missing.
    assert cells["q2", "m"] == cells["q2", "n"] == dict.fromkeys(study.criteria, True)
    at = study.column("overall")
    np.testing.assert_allclose(study.panel[:, at], [0.2, 0.2, np.nan, np.nan])
    assert "taken not to apply: depth on 1 of 2 questions" in found.notes[0]


def test_a_file_says_how_many_samples_its_scores_are_made_of() -> None:
    twice = [
        verdict(question, "a", score, sample=sample)
        for question in ("q1", "q2", "q3")
        for sample, score in enumerate((0.2, 0.6))
    ]
    for rows, samples in ((twice, 2), (twice[:-1], 2), (twice[::2], 1)):
        found = from_files(rows, [], CHOICE, source="v.jsonl", unrated=True)
        assert found.judge_samples == samples
    dense = [replace(one, kind=ScoreKind.LOGPROBS) for one in twice[::2]]
    assert from_files(dense, [], CHOICE, source="x", unrated=True).judge_samples is None


def test_files_of_the_offline_judge_have_its_partial_overalls() -> None:
    """Six of eight criteria are enough, as on the ledger; of any other judge all are needed."""
    names = [one.criterion for one in load_rubric("communication").criteria]
    for judge, offline in (("offline", True), ("else", False)):
        rows = [
            verdict("q1", judge, 0.5, criterion=name, ruler=name)
            if at < 6
            else replace(
                verdict("q1", judge, 0.5, criterion=name, ruler=name), status=Status.UNSCORED,
                reason=Reason.CANNOT_ASSESS, score=None, level=None,
            )
            for at, name in enumerate(names)
        ]  # fmt: skip
        found = from_files(rows, [], CHOICE, source="x", unrated=True)
        assert found.offline is offline
        overall = found.study.panel[0, -1]
        assert overall == pytest.approx(0.5) if offline else np.isnan(overall)


def test_answers_that_watch_the_judge_are_left_out_early(ledger: Ledger) -> None:
    answers = [row.answer for row in ledger.answers()][:8]
    keys = [(one.question_id, one.model, one.sample) for one in answers]
    plain = from_ledger(ledger, None, CHOICE)
    found = from_ledger(ledger, None, CHOICE, frozen=frozenset(keys[:3]))
    column = found.study.column("clarity")
    assert found.study.n_raters[:, column].sum() == 2 * 5
    assert found.hashes["ratings"] != plain.hashes["ratings"]
    assert found.notes[0] == (
        "3 rated answers are set aside as anchors of a series of nights and not used here."
    )
    foreign = from_ledger(ledger, None, CHOICE, frozen=frozenset({("q", "nobody", 0)}))
    assert foreign.hashes == plain.hashes
    assert foreign.notes == plain.notes
    with pytest.raises(UsageError, match=r"8 rated answers are set aside .* No rating of a judged"):
        from_ledger(ledger, None, CHOICE, frozen=frozenset(keys))
