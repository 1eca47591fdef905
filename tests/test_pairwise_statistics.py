"""Shares, preferences and their intervals: hand-computed values, and coverage of a known truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from judge.differences import paired_differences
from judge.pairwise import Better, Pair, PairSettings, PairVerdict, share_interval
from judge.pairwise._result import Preference, preferences
from judge.pairwise._statistics import share_intervals
from judge.pairwise._tally import cells_of, matrices_of
from judge.records import Answer, Question, Reason, Status
from judge.rubric import Criterion
from judge.scoring import Item, item_of
from judge.weights import Weights, equal_weights
from tests.support import criterion, rubric

FIRST, SECOND, TIE = Better.FIRST, Better.SECOND, Better.TIE
QUESTIONS = 45


def rng() -> np.random.Generator:
    return np.random.default_rng(20261121)


def pair(name: str, sample: int = 0, category: str | None = None) -> Pair:
    """The answers of a and b to one question."""
    question = Question(question_id=name, question=f"{name}?", category=category)

    def item(model: str) -> Item:
        answer = Answer(question_id=name, model=model, answer=f"{model} {sample}", sample=sample)
        return item_of(0, answer, question)

    return Pair(question=question, sample=sample, items=(item("a"), item("b")))


def verdict(
    of: Pair, first: str, better: Better | None, sample: int = 0, name: str = "tact"
) -> PairVerdict:
    """A scored verdict, or one that the judge refused."""
    return PairVerdict(
        question_id=of.question.question_id,
        answer_sample=of.sample,
        criterion=name,
        first=first,
        second="b" if first == "a" else "a",
        sample=sample,
        status=Status.UNSCORED if better is None else Status.SCORED,
        reason=Reason.REFUSED if better is None else None,
        better=better,
    )


def aggregate(
    pairs: Sequence[Pair],
    verdicts: Sequence[PairVerdict],
    *,
    criteria: Sequence[Criterion] = (criterion("tact"),),
    weights: Weights | None = None,
    samples: int = 1,
    sign: int = 1,
) -> dict[str, Preference]:
    """The entries of a result by criterion."""
    of = rubric(*criteria)
    cells = cells_of(pairs, criteria, samples, verdicts)
    numbers = matrices_of(cells, pairs, criteria, weights or equal_weights(of), None)
    found = preferences(cells, numbers, pairs, criteria, PairSettings(samples=samples), sign)
    return {entry.criterion: entry for entry in found}


def both(
    of: Pair, a_first: Better | None, b_first: Better | None, **at: int | str
) -> list[PairVerdict]:
    return [verdict(of, "a", a_first, **at), verdict(of, "b", b_first, **at)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a_first", "b_first", "preference", "consistent", "towards_first"),
    [
        (SECOND, FIRST, 1.0, True, 0.0),  # b, wherever it stands
        (FIRST, SECOND, -1.0, True, 0.0),  # a, wherever it stands
        (TIE, TIE, 0.0, True, None),  # nothing was chosen: no direction
        (FIRST, FIRST, 0.0, False, 0.5),  # always the first place
        (SECOND, SECOND, 0.0, False, -0.5),  # always the second
        (TIE, FIRST, 0.5, False, 0.5),
        (SECOND, TIE, 0.5, False, -0.5),
        (FIRST, TIE, -0.5, False, 0.5),
        (TIE, SECOND, -0.5, False, -0.5),
    ],
)
def test_what_two_orders_mean(
    a_first: Better,
    b_first: Better,
    preference: float,
    consistent: bool,
    towards_first: float | None,
) -> None:
    q = pair("q")
    entry = aggregate([q], both(q, a_first, b_first))["tact"]
    assert entry.preference == preference
    assert entry.position_consistency == float(consistent)
    assert entry.direction == towards_first
    assert (entry.wins, entry.ties, entry.losses) == (
        preference > 0, preference == 0, preference < 0,
    )  # fmt: skip
    favours = None if consistent else float((towards_first or 0) > 0)
    assert entry.inconsistent_first == favours
    assert (entry.n_inconsistent, entry.coverage) == (0 if consistent else 1, 1.0)


def test_ten_questions_by_hand() -> None:
    # 4 x b in both orders, 2 x a in both, 3 x first-first, 1 x (tie, first).
    plan = [(SECOND, FIRST)] * 4 + [(FIRST, SECOND)] * 2 + [(FIRST, FIRST)] * 3 + [(TIE, FIRST)]
    pairs = [pair(f"q{number}") for number in range(10)]
    verdicts = [v for q, orders in zip(pairs, plan, strict=True) for v in both(q, *orders)]
    entry = aggregate(pairs, verdicts)["tact"]
    assert entry.preference == pytest.approx((4 - 2 + 0.5) / 10)
    assert (entry.wins, entry.ties, entry.losses) == pytest.approx((0.5, 0.3, 0.2))
    assert entry.position_consistency == pytest.approx(6 / 10)
    # Choices: 12 of the consistent pairs, half of them first; 6 firsts; 1 first beside a tie.
    assert entry.direction == pytest.approx((6 + 6 + 1) / (12 + 6 + 1) - 0.5)
    assert (entry.inconsistent_first, entry.n_inconsistent) == (1.0, 4)
    assert aggregate(pairs[::-1], verdicts[::-1])["tact"] == entry, (
        "whatever the order of the input"
    )
    turned = aggregate(pairs, verdicts, sign=-1)["tact"]
    assert (turned.preference, turned.low, turned.high) == (
        -entry.preference, -entry.high, -entry.low,
    )  # fmt: skip
    assert (turned.wins, turned.losses) == (entry.losses, entry.wins)
    assert (turned.direction, turned.position_consistency, turned.ties) == (
        entry.direction, entry.position_consistency, entry.ties,
    )  # fmt: skip


def test_a_pair_without_one_order_is_left_out_and_counted() -> None:
    whole, refused, open_ = pair("q0"), pair("q1"), pair("q2")
    verdicts = [
        *both(whole, SECOND, FIRST),
        *both(refused, None, FIRST),
        verdict(open_, "a", FIRST),
    ]
    entries = aggregate([whole, refused, open_], verdicts)
    for entry in entries.values():
        assert (entry.preference, entry.n_questions, entry.n_pairs) == (1.0, 1, 1)
        assert entry.coverage == pytest.approx(1 / 3)
        assert (entry.unscored, entry.open) == ({"refused": 1}, 1)


def test_nothing_scored_gives_no_number() -> None:
    q = pair("q")
    for entry in aggregate([q], both(q, None, None)).values():
        shown = (entry.preference, entry.low, entry.wins, entry.direction, entry.pc_high)
        assert shown == (None,) * 5
        assert (entry.coverage, entry.unscored, entry.n_questions) == (0.0, {"refused": 1}, 0)


def test_samples_are_averaged_and_a_sample_needs_both_orders() -> None:
    q = pair("q")
    verdicts = [
        *both(q, SECOND, FIRST, sample=0),
        *both(q, FIRST, FIRST, sample=1),
        *both(q, SECOND, None, sample=2),
    ]
    entry = aggregate([q], verdicts, samples=3)["tact"]
    assert (entry.preference, entry.position_consistency) == (0.5, 0.5)
    assert entry.coverage == pytest.approx(2 / 3)
    assert entry.direction == pytest.approx(3 / 4 - 0.5)


def test_a_question_counts_once_however_many_answer_pairs_it_has() -> None:
    pairs = [pair("q0", 0), pair("q0", 1), pair("q0", 2), pair("q1")]
    verdicts = [v for q in pairs[:3] for v in both(q, SECOND, FIRST)]
    verdicts += both(pairs[3], FIRST, FIRST)
    entry = aggregate(pairs, verdicts)["tact"]
    assert (entry.n_questions, entry.n_pairs) == (2, 4)
    assert (entry.preference, entry.position_consistency, entry.wins) == (0.5, 0.5, 0.5)


def test_the_overall_weighs_criteria_and_needs_all_that_weigh() -> None:
    criteria = (criterion("tact"), criterion("truth", except_categories=frozenset({"chat"})))
    weights = Weights(
        name="w", rubric="tiny", general={"tact": 0.25, "truth": 0.75}, categories={}, stages={},
        caps=(),
    )  # fmt: skip
    plain, chat, lacking = pair("q0"), pair("q1", category="chat"), pair("q2")
    verdicts = [
        *both(plain, SECOND, FIRST, name="tact"), *both(plain, FIRST, FIRST, name="truth"),
        *both(chat, FIRST, SECOND, name="tact"),
        *both(lacking, SECOND, FIRST, name="tact"), *both(lacking, None, FIRST, name="truth"),
    ]  # fmt: skip
    entries = aggregate([plain, chat, lacking], verdicts, criteria=criteria, weights=weights)
    overall = entries["overall"]
    # q0: 0.25 x 1 + 0.75 x 0; q1: -1, its one criterion weighs all; q2: none.
    assert overall.preference == pytest.approx((0.25 - 1) / 2)
    assert overall.position_consistency == pytest.approx((0.25 + 1) / 2)
    assert (overall.unscored, overall.coverage) == ({"refused": 1}, pytest.approx(2 / 3))
    assert (entries["truth"].not_applicable, entries["truth"].n_pairs) == (1, 1)
    silent = Weights(
        name="w", rubric="tiny", general={"tact": 1.0, "truth": 0.0}, categories={}, stages={},
        caps=(),
    )  # fmt: skip
    entries = aggregate([plain, chat, lacking], verdicts, criteria=criteria, weights=silent)
    assert (entries["overall"].n_pairs, entries["overall"].coverage) == (3, 1.0)


@pytest.mark.parametrize(("hits", "n"), [(29, 45), (0, 45), (45, 45), (44, 45), (1, 3)])
def test_one_trial_per_question_gives_the_jeffreys_interval(hits: int, n: int) -> None:
    outcomes = (np.arange(n) < hits).astype(float)
    share = share_interval(outcomes, np.ones(n), draws=200_000, rng=rng())
    assert share is not None
    exact = stats.beta(hits + 0.5, n - hits + 0.5)
    assert share.value == pytest.approx(hits / n)
    assert share.low == pytest.approx(0 if hits == 0 else exact.ppf(0.025), abs=0.003)
    assert share.high == pytest.approx(1 if hits == n else exact.ppf(0.975), abs=0.003)


def test_a_share_without_trials_is_none_and_nonsense_is_refused() -> None:
    assert share_interval(np.zeros(3), np.zeros(3), rng=rng()) is None
    assert share_interval(np.zeros(3), np.full(3, 1e-16), rng=rng()) is None, "rounding"
    with pytest.raises(ValueError, match="hits <= trials"):
        share_interval(np.array([1.0]), np.array([0.5]), rng=rng())
    with pytest.raises(ValueError, match="lack the same"):
        share_interval(np.array([np.nan]), np.array([0.5]), rng=rng())
    with pytest.raises(ValueError, match="shape"):
        share_interval(np.zeros(2), np.zeros(3), rng=rng())
    with pytest.raises(ValueError, match="confidence"):
        share_interval(np.zeros(2), np.ones(2), confidence=1.0, rng=rng())


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda pair: (min(pair), max(pair))),
        min_size=1,
        max_size=30,
    )
)
@settings(deadline=None, max_examples=60)
def test_a_share_lies_inside_its_interval_and_its_complement_mirrors_it(
    questions: list[tuple[float, float]],
) -> None:
    hits, trials = np.array(questions).T
    share = share_interval(hits, trials, draws=200, rng=rng())
    assert (share is None) == (trials.sum() <= 1e-9)
    if share is not None:
        assert 0 <= share.low <= share.value <= share.high <= 1
        opposite = share_interval(trials - hits, trials, draws=200, rng=rng())
        assert opposite is not None
        assert opposite.value == pytest.approx(1 - share.value, abs=1e-6)


def simulated(
    n_runs: int, *, gap: float, spread: float, bias: float, tie: float, samples: int
) -> dict[str, np.ndarray]:
    """Measures of ``n_runs`` studies of 45 questions, each (45, n_runs).

    A verdict compares noisy utilities: with g ~ N(gap, spread) the lead of b on a question, the
    first place wins where (-g or g) + bias + N(0, 1) > tie, the second where it is < -tie.
    """
    dice = np.random.default_rng(7)
    g = dice.normal(gap, spread, (QUESTIONS, n_runs))
    totals = {name: np.zeros_like(g) for name in ("preference", "agree", "first", "decisive")}
    for _ in range(samples):
        chosen = []
        for lead in (-g, g):
            utility = lead + bias + dice.normal(size=g.shape)
            chosen.append(np.where(np.abs(utility) <= tie, 0, np.sign(utility)))
        a_first, b_first = chosen
        totals["preference"] += (b_first - a_first) / 2 / samples
        totals["agree"] += (a_first == -b_first) / samples
        totals["first"] += ((a_first > 0) + 1.0 * (b_first > 0)) / 2 / samples
        totals["decisive"] += ((a_first != 0) + 1.0 * (b_first != 0)) / 2 / samples
    return totals


PLANTS = [
    {"gap": 0.0, "spread": 0.0, "bias": 0.0, "tie": 0.3, "samples": 1},
    {"gap": 0.3, "spread": 0.5, "bias": 0.3, "tie": 0.3, "samples": 1},
    {"gap": 0.8, "spread": 0.7, "bias": -0.3, "tie": 0.2, "samples": 1},
    {"gap": 0.5, "spread": 1.0, "bias": 0.2, "tie": 0.1, "samples": 3},
]


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_intervals_cover_the_truth_at_45_questions(plant: dict[str, float]) -> None:
    runs = 1500
    found = simulated(runs, **plant)  # type: ignore[arg-type]
    sure = simulated(40_000, **plant)  # type: ignore[arg-type]
    means = {name: float(values.mean()) for name, values in sure.items()}
    preference = paired_differences(found["preference"], rng=rng())
    agree = share_intervals(found["agree"], np.ones_like(found["agree"]), rng=rng())
    first = share_intervals(found["first"], found["decisive"], rng=rng())
    truths = (means["preference"], means["agree"], means["first"] / means["decisive"])
    for intervals, truth in zip((preference, agree, first), truths, strict=True):
        covered = np.mean([i is not None and i.low <= truth <= i.high for i in intervals])
        # The margins 93 to 97 %, and two standard errors of 1500 runs.
        assert 0.93 - 0.013 <= covered <= 0.97 + 0.009, (plant, truth, covered)


def test_a_judge_that_is_nearly_always_consistent_gets_no_interval_of_width_zero() -> None:
    pairs = [pair(f"q{number}") for number in range(QUESTIONS)]
    entry = aggregate(pairs, [v for q in pairs for v in both(q, SECOND, FIRST)])["tact"]
    assert (entry.preference, entry.position_consistency, entry.direction) == (1.0, 1.0, 0.0)
    assert entry.low is not None
    assert entry.low < 1.0 == entry.high
    # Jeffreys: the 2.5 % point of Beta(45.5, 0.5).
    assert entry.pc_low == pytest.approx(stats.beta(45.5, 0.5).ppf(0.025), abs=0.01)
    assert entry.direction_low is not None
    assert -0.05 < entry.direction_low < 0 < (entry.direction_high or 0) < 0.05


def test_verdicts_refuse_the_impossible() -> None:
    q = pair("q")
    with pytest.raises(ValueError, match="prefers"):
        PairVerdict(
            question_id="q", answer_sample=0, criterion="tact", first="a", second="b", sample=0,
            status=Status.SCORED,
        )  # fmt: skip
    with pytest.raises(ValueError, match="reason"):
        PairVerdict(
            question_id="q", answer_sample=0, criterion="tact", first="a", second="b", sample=0,
            status=Status.UNSCORED,
        )  # fmt: skip
    assert verdict(q, "b", FIRST).preferred == "b"
    assert verdict(q, "b", SECOND).preferred == "a"
    assert verdict(q, "b", TIE).preferred is None
