"""From verdicts to a night's numbers, and what is frozen: anchors, canaries, events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.anchors import ANCHORS, frozen_answers
from judge.canonical import text_hash
from judge.drift import Baseline, Bridge, Equating, Night
from judge.errors import UsageError
from judge.ledger import Ledger
from judge.nightly import accepted_baseline, add_baseline, add_night, read_series, require_next
from judge.nightly._anchors import anchor_items, chosen_anchors
from judge.nightly._baselines import first_baseline
from judge.nightly._canaries import QUESTIONS, canary_items, planted_canaries
from judge.nightly._config import CandidateSettings, JudgeSettings, NightlyConfig
from judge.nightly._events import Series, StoredNight, add_bridge, add_once
from judge.nightly._measure import Arms, Ruler, Scores, measured
from judge.nightly._watching import changes
from judge.records import Answer, Question, Rating, Reason, Status
from judge.scoring import Item
from judge.weights import equal_weights
from tests import support
from tests.ledger_workers import make_verdict

RUBRIC = support.rubric()
RULERS = {"tact": "r-tact", "truth": "r-truth"}
RULER = Ruler(
    rubric=RUBRIC, weights=equal_weights(RUBRIC), stage=None, rulers=RULERS, samples=2,
    offline=False,
)  # fmt: skip
DATE = "2026-03-01"
CONFIG = NightlyConfig(
    path=Path("nightly.yaml"), series="s", out=Path("site"),
    candidate=CandidateSettings(name="m", model="http://127.0.0.1:9/v1#m"),
    judge=JudgeSettings(model="offline"),
)  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = support.ledger_at(tmp_path)
    yield opened
    opened.close()


def items_of(ledger: Ledger, texts: Sequence[tuple[str, int, str]]) -> list[Item]:
    """Items of the model m: question, sample and text."""
    pairs = [
        (
            Answer(question_id=name, model="m", answer=text, sample=sample, occasion=DATE),
            Question(question_id=name, question=f"What of {name}?"),
        )
        for name, sample, text in texts
    ]
    return support.stored_items(ledger, pairs)


def judged(
    ledger: Ledger, item: Item, criterion: str, *levels: float | None, occasion: str = DATE
) -> None:
    """Store a verdict per judge sample; None is one without a score."""
    for sample, level in enumerate(levels):
        outcome = (
            {"status": Status.UNSCORED, "reason": Reason.INVALID, "level": None, "score": None}
            if level is None
            else {"level": level, "score": level / 5}
        )
        stored = make_verdict(
            None, question_id=item.answer.question_id, model=item.answer.model,
            answer_sample=item.answer.sample, answer_hash=text_hash(item.answer.answer),
            criterion=criterion, ruler=RULERS[criterion], sample=sample, occasion=occasion,
        )  # fmt: skip
        ledger.add_verdicts([replace(stored, verdict=replace(stored.verdict, **outcome))])


def test_a_night_is_the_mean_per_question_and_what_is_missing_is_counted(ledger: Ledger) -> None:
    a, b, other = items_of(ledger, [("q1", 0, "one"), ("q1", 1, "two"), ("q2", 0, "three")])
    judged(ledger, a, "tact", 5, 4)  # .9
    judged(ledger, a, "truth", 2, 2)  # .4
    judged(ledger, b, "tact", 1, None)  # .2, of the sample that is there
    judged(ledger, b, "truth", None, None)  # missing, and with it the overall of this answer
    judged(ledger, other, "tact", 5, 5, occasion="2026-02-28")  # another night
    arms = Arms(questions=("q1", "q2"), candidate=[a, b, other])
    scores = Scores(ledger, RULER, DATE, {}, ["m"])
    night = measured(arms, scores, date=DATE, epoch="e", wanted=4, trouble="")
    assert night.metrics == ("tact", "truth", "overall")
    # tact of q1: (.9 + .2) / 2; truth: .4 alone; overall: (.9 + .4) / 2 of the first answer alone.
    assert night.candidate[0] == pytest.approx([0.55, 0.4, 0.65])
    assert np.isnan(night.candidate[1]).all()
    # Of four wanted answers one has tact, one half of it (a sample of two), one has truth and one
    # an overall.
    assert night.missing == pytest.approx({"tact": 0.625, "truth": 0.75, "overall": 0.75})
    assert night.complete


def test_samples_beyond_those_that_were_asked_for_do_not_count(ledger: Ledger) -> None:
    (item,) = items_of(ledger, [("q1", 0, "one")])
    judged(ledger, item, "tact", 5, 5, 0)
    rows = Scores(ledger, RULER, DATE, {}, ["m"]).rows([item])
    assert rows[0, 0] == 1.0


def test_an_answer_of_another_text_has_no_score(ledger: Ledger) -> None:
    (item,) = items_of(ledger, [("q1", 0, "one")])
    judged(ledger, item, "tact", 5, 5)
    changed = replace(item, answer_hash=text_hash("another"))
    assert np.isnan(Scores(ledger, RULER, DATE, {}, ["m"]).rows([changed])).all()


def test_everything_is_judged_once_in_an_order_that_the_date_decides(ledger: Ledger) -> None:
    items = items_of(ledger, [(f"q{n}", 0, f"text {n}") for n in range(12)])
    arms = Arms(
        questions=tuple(f"q{n}" for n in range(12)), candidate=items[:6], anchors=items[4:9],
        slice=items[9:], canaries={"null": items[:1]},
    )  # fmt: skip
    order = [item.answer_id for item in arms.shuffled("s", DATE)]
    assert sorted(order) == [item.answer_id for item in items]
    assert order == [item.answer_id for item in arms.shuffled("s", DATE)]
    assert order != [item.answer_id for item in arms.shuffled("s", "2026-03-02")]
    assert order != sorted(order)


def rated(ledger: Ledger, levels: Sequence[float]) -> list[Item]:
    """Answers, each rated by two people around a level."""
    items = items_of(ledger, [(f"q{n}", 0, f"text {n}") for n in range(len(levels))])
    ledger.add_ratings(
        [
            Rating(
                question_id=item.answer.question_id, model="m", criterion="tact", rater=rater,
                rating=level, scale_min=1, scale_max=5,
            )
            for item, level in zip(items, levels, strict=True)
            for rater in ("ann", "bob")
        ]
    )  # fmt: skip
    return items


def test_anchors_are_spread_over_the_levels_and_leave_half_for_calibration(ledger: Ledger) -> None:
    # 32 of 40 answers have the highest level: at random, the other levels would hardly be there.
    levels = [5.0] * 32 + [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]
    items = rated(ledger, levels)
    body = chosen_anchors(ledger, RUBRIC, {}, "s", 12)
    assert body is not None and body["rated"] == 40
    found = Counter(one["human"]["tact"] for one in body["answers"])
    assert sum(found.values()) == 12
    # Strata: below .25 (level 1), below .5 (2), below .75 (3), from there on (5); in turn.
    assert found[0.0] == 2 and found[0.25] == 2 and found[0.5] == 4 and found[1.0] == 4
    assert chosen_anchors(ledger, RUBRIC, {}, "s", 12) == body
    many = chosen_anchors(ledger, RUBRIC, {}, "s", 100)
    assert many is not None and len(many["answers"]) == 20
    frozen = anchor_items(ledger, body, {})
    assert [item.answer_id for item in frozen] == [one["answer_id"] for one in body["answers"]]
    assert {item.answer.answer for item in frozen} <= {item.answer.answer for item in items}


def test_answers_that_were_given_twice_are_no_anchors(ledger: Ledger) -> None:
    rated(ledger, [1, 2, 3, 4])
    again = Answer(question_id="q0", model="m", answer="another text", occasion="later")
    ledger.add_answers([again], {"q0": Question(question_id="q0", question="What of q0?")})
    body = chosen_anchors(ledger, RUBRIC, {}, "s", 10)
    assert body is not None and body["rated"] == 3


def test_frozen_answers_are_those_of_every_series(ledger: Ledger) -> None:
    items = rated(ledger, [1, 2, 3, 4])
    assert frozen_answers(ledger) == frozenset()
    for name, item in zip(("s", "t"), items, strict=False):
        body = {"answers": [{"answer_id": item.answer_id, "human": {}}], "rated": 4}
        add_once(ledger, name, ANCHORS, "frozen", body)
    assert frozen_answers(ledger) == {("q0", "m", 0), ("q1", "m", 0)}


def test_canaries_are_planted_in_a_few_questions_and_stay_the_same(ledger: Ledger) -> None:
    text = "Press the blue button first. Then wait for the green light and open the door slowly."
    first = items_of(ledger, [(f"q{n}", 0, f"{text} {n}") for n in range(9)])
    body = planted_canaries(ledger, "s", DATE, first)
    assert body is not None and body == planted_canaries(ledger, "s", DATE, first)
    planted = canary_items(ledger, body, {})
    assert set(planted) == {"plain", "null", "praise", "padding"}
    assert {len(items) for items in planted.values()} == {QUESTIONS}
    for at, plain in enumerate(planted["plain"]):
        for kind in ("praise", "padding"):
            changed = planted[kind][at]
            assert changed.question == plain.question
            assert changed.answer.answer.startswith(plain.answer.answer[:20])
            assert len(changed.answer.answer) > len(plain.answer.answer)
        assert planted["null"][at].answer.answer == ""
    assert planted_canaries(ledger, "s", DATE, []) is None


def night(date: str, *, epoch: str = "e", complete: bool = True, value: float = 0.5) -> StoredNight:
    scores = np.array([[value, np.nan], [1.0, 0.25]])
    return StoredNight(
        night=Night(
            date=date, epoch=epoch, metrics=("tact", "overall"), question_ids=("q1", "q2"),
            candidate=scores, again=None, anchor_ids=("a",), anchors=scores[:1],
            canaries={"null": float("nan"), "plain": 0.5}, missing={"tact": 0.25},
            complete=complete, trouble="" if complete else "the judge: stopped by the time limit",
        ),
        run="r", made_by={"judge": "j", "rulers": {"tact": "x"}}, answers={"q1|0": [value, 0.5]},
        spent={"tokens": 12.0, "usd": None},
    )  # fmt: skip


def series_of(*nights: StoredNight, baselines: tuple[Baseline, ...] = ()) -> Series:
    return Series(
        name="s", nights=nights, baselines=baselines, bridges=(), anchors=None, canaries=None,
        messages=frozenset(),
    )  # fmt: skip


class TestEvents:
    def test_what_is_noted_comes_back_as_it_was(self, ledger: Ledger) -> None:
        stored = night("2026-03-02")
        baseline = Baseline(since="2026-03-03", nights=("2026-03-02",), epoch="e", by="ann")
        equating = Equating(
            intercept=0.1, slope=0.9, se=0.01, shift=-0.02, low=-0.04, high=0.01, n=30
        )
        bridge = Bridge(
            since="2026-03-04", old="e", new="f", metrics={"tact": equating}, by="bob"
        )  # fmt: skip
        add_night(ledger, "s", stored)
        add_night(ledger, "s", night("2026-03-01"))
        add_baseline(ledger, "s", baseline)
        add_bridge(ledger, "s", bridge)
        series = read_series(ledger, "s")
        assert [one.night.date for one in series.nights] == ["2026-03-01", "2026-03-02"]
        assert series.baselines == (baseline,) and series.bridges == (bridge,)
        back = series.nights[1]
        assert replace(back, night=stored.night) == stored
        np.testing.assert_array_equal(back.night.candidate, stored.night.candidate)
        np.testing.assert_array_equal(back.night.anchors, stored.night.anchors)
        assert back.night.slice_now.shape == (0, 2) and back.night.again is None
        assert np.isnan(back.night.canaries["null"]) and back.night.canaries["plain"] == 0.5
        assert read_series(ledger, "t").nights == ()

    def test_a_night_that_was_cut_short_is_followed_by_its_end(self, ledger: Ledger) -> None:
        cut = night("2026-03-01", complete=False, value=0.1)
        for run in ("r", "another"):
            add_night(ledger, "s", replace(cut, run=run))
        assert len(ledger.series_events("s", "night")) == 1, "it says nothing new"
        assert require_next(read_series(ledger, "s"), "2026-03-01") is None
        add_night(ledger, "s", night("2026-03-01", value=0.7))
        series = read_series(ledger, "s")
        (held,) = series.nights
        assert held.night.complete and held.night.candidate[0, 0] == 0.7
        assert require_next(series, "2026-03-01") is held

    @given(values=st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=2, max_size=8))
    def test_any_scores_survive_the_ledger(
        self, tmp_path_factory: pytest.TempPathFactory, values: list[float]
    ) -> None:
        opened = support.ledger_at(tmp_path_factory.mktemp("ledger"))
        scores = np.array(values[: len(values) // 2 * 2]).reshape(-1, 2)
        plain = night("2026-03-01")
        given_night = replace(
            plain.night,
            candidate=scores,
            question_ids=tuple(f"q{at}" for at in range(len(scores))),
        )
        add_night(opened, "s", replace(plain, night=given_night))
        (back,) = read_series(opened, "s").nights
        opened.close()
        np.testing.assert_array_equal(back.night.candidate, scores)


class TestBaselines:
    DATES = tuple(f"2026-03-{day:02}" for day in range(1, 15))

    def test_the_first_is_taken_once_there_are_enough_nights_of_one_epoch(self) -> None:
        nights = [night(date) for date in self.DATES]
        assert first_baseline(series_of(*nights[:9]), 10) is None
        found = first_baseline(series_of(*nights[:10]), 10)
        assert found is not None and found.since == "2026-03-11"
        assert found.nights == self.DATES[:10] and found.by == "plumbline"
        assert first_baseline(series_of(*nights, baselines=(found,)), 10) is None
        mixed = [*nights[:5], *(night(date, epoch="f") for date in self.DATES[5:12])]
        assert first_baseline(series_of(*mixed), 10) is None
        partial = [*nights[:9], night(self.DATES[9], complete=False), night(self.DATES[10])]
        taken = first_baseline(series_of(*partial), 10)
        assert taken is not None and self.DATES[9] not in taken.nights

    def test_the_newest_are_accepted_or_those_that_are_named(self) -> None:
        series = series_of(*(night(date) for date in self.DATES))
        newest = accepted_baseline(series, CONFIG, by="ann", note="why", span=None)
        assert newest.nights == self.DATES[4:] and newest.since == "2026-03-15"
        named = accepted_baseline(
            series, CONFIG, by="ann", note="", span=("2026-03-02", "2026-03-12")
        )  # fmt: skip
        assert named.nights == self.DATES[1:12] and named.since == "2026-03-15"
        with pytest.raises(UsageError, match="9 complete nights of one epoch"):
            accepted_baseline(series, CONFIG, by="ann", note="", span=("2026-03-01", "2026-03-09"))
        with pytest.raises(UsageError, match="has no night from"):
            accepted_baseline(series, CONFIG, by="ann", note="", span=("2025-01-01", "2025-01-31"))

    def test_a_date_that_is_over_is_not_measured_later(self) -> None:
        series = series_of(night("2026-03-01"), night("2026-03-03"))
        with pytest.raises(UsageError, match="was not measured, and the series s has gone on"):
            require_next(series, "2026-03-02")
        assert require_next(series, "2026-03-04") is None


def test_what_changed_is_named_and_a_ruler_only_where_nothing_else_explains_it() -> None:
    then = {"judge": "openai:a", "judge samples": 3, "weights": "w 1", "rulers": {"tact": "1"}}
    assert changes(then, {**then, "judge": "openai:b", "rulers": {"tact": "2"}}) == (
        "judge (openai:a before, openai:b now)"
    )
    assert changes(then, {**then, "rulers": {"tact": "2"}}) == "what the judge is told of tact"
    assert changes(then, {**then, "weights": "w 2", "rulers": {"tact": "2"}}) == (
        "weights (w 1 before, w 2 now); what the judge is told of tact"
    )
