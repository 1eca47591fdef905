"""Duplicates: what is compared, who stays, and that no order or cut of the rows matters."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft.dedup import (
    DUPLICATES,
    Bands,
    compared_turns,
    find_duplicates,
    fingerprint,
    jaccard,
    remove_duplicates,
    shingles,
)
from sft.dedup import _search as search_module
from sft.dedup._buckets import bucket_rows
from sft.records import REMOVED, ROWS
from sft.settings import DedupSettings

Talk = Sequence[tuple[str, str]]
SETTINGS = DedupSettings()
VOCABULARY = [f"{start}{end}" for start in "bcdfghjk" for end in ("ade", "ilo", "une", "erry")]


def rows_of(talks: Mapping[str, Talk], source: str = "s") -> pl.DataFrame:
    """Rows by their ids."""
    return pl.DataFrame(
        {
            "row_id": list(talks),
            "source": source,
            "file": f"{source}.jsonl",
            "line": range(1, len(talks) + 1),
            "language": None,
            "messages": [
                [{"role": role, "content": content} for role, content in talk]
                for talk in talks.values()
            ],
        },
        schema=dict(ROWS),
    )


def asked(text: str, answer: str = "Yes.") -> Talk:
    """A question with its answer."""
    return [("user", text), ("assistant", answer)]


def found_in(
    folder: Path,
    frames: Iterable[pl.DataFrame],
    priorities: Mapping[str, int] | None = None,
    options: DedupSettings = SETTINGS,
    ticks: list[tuple[int, int]] | None = None,
) -> pl.DataFrame:
    """The duplicates among parts."""
    parts, prints = [], []
    for number, frame in enumerate(frames):
        parts.append(folder / f"part-{number}.parquet")
        prints.append(folder / f"print-{number}.parquet")
        frame.write_parquet(parts[-1])
        fingerprint(frame, options).write_parquet(prints[-1])
    seen = [] if ticks is None else ticks
    return find_duplicates(
        parts, prints, priorities or {"s": 0}, options,
        tick=lambda done, total: seen.append((done, total)),
    )  # fmt: skip


def pairs(found: pl.DataFrame) -> list[tuple[str, str, str]]:
    """(row, twin, kind)."""
    return found.select("row_id", "twin_id", "kind").rows()


def text_of(seed: int, words: int = 60) -> str:
    """Words in no order."""
    return " ".join(random.Random(seed).choices(VOCABULARY, k=words))


def edited(text: str, places: Iterable[int]) -> str:
    """A text with some of its words replaced by ones that it lacks."""
    words = text.split()
    for place in places:
        words[place] = f"other{place}"
    return " ".join(words)


class TestExact:
    """Same turns after folding."""

    @pytest.mark.parametrize(
        ("text", "same"),
        [
            ("What is an auction ad?", True),
            ("  WHAT is\n\nan  ａｕｃｔｉｏｎ ad?", True),
            ("What is an\u200b auction ad?", True),
            ("What is an auction ad!", False),
            ("What is an auction ad", False),
        ],
    )
    def test_case_width_and_white_space_do_not_count(self, text: str, same: bool) -> None:
        talks = {"1": asked("What is an auction ad?"), "2": asked(text)}
        one, two = fingerprint(rows_of(talks), SETTINGS)["exact"]
        assert (one == two) is same

    def test_system_prompts_do_not_count_but_turns_and_roles_do(self) -> None:
        talks = {
            "plain": asked("a", "b"),
            "with system": [("system", "Be kind."), *asked("a", "b")],
            "swapped": [("assistant", "a"), ("user", "b")],
            "one turn": [("user", "a b")],
            **{f"looks like turns {n}": [("user", f"aassistant {n}b")] for n in ("", "0 ", "1 ")},
            "more": [*asked("a", "b"), ("user", "c")],
        }
        keys = dict(zip(talks, fingerprint(rows_of(talks), SETTINGS)["exact"], strict=True))
        assert keys["plain"] == keys["with system"]
        assert len(set(keys.values())) == len(talks) - 1

    def test_rows_with_nothing_to_compare_are_nobodys_duplicates(self, tmp_path: Path) -> None:
        talks = {"1": [("system", "Be kind.")], "2": [("system", "Be kind.")]}
        assert found_in(tmp_path, [rows_of(talks)]).is_empty()

    def test_row_ids_decide_among_equal_sources(self, tmp_path: Path) -> None:
        # As the pipeline names the second of two equal rows of a source.
        talks = {"ab.1": asked("x"), "ab": asked("X"), "ab.2": asked("x")}
        assert pairs(found_in(tmp_path, [rows_of(talks)])) == [
            ("ab.1", "ab", "exact"),
            ("ab.2", "ab", "exact"),
        ]


class TestSimilarity:
    """Shingles and their Jaccard similarity, by hand."""

    def similarity(self, one: Talk, other: Talk, size: int = 5) -> float:
        rows = rows_of({"1": one, "2": other})
        sets = shingles(compared_turns(rows), 2, size)
        return jaccard(sets.of(0), sets.of(1))

    def test_by_hand(self) -> None:
        # abcde bcdef cdefg defgx against abcde bcdef cdefg defgy: 3 shared of 5.
        assert self.similarity(asked("a b c d e f g", "x"), asked("A, b c d e f g", "y")) == 0.6
        # Of 3 tokens: abc bcd cde def efg fgx, fgy: 5 of 7.
        one, other = asked("a b c d e f g", "x"), asked("a b c d e f g", "y")
        assert self.similarity(one, other, 3) == 5 / 7

    def test_repeats_count_once(self) -> None:
        # abababa has ababa and babab, and ababab as well.
        one, other = [("user", "a b a b a b a")], [("user", "a b a b a b")]
        assert self.similarity(one, other) == 1

    def test_characters_are_the_tokens_of_chinese(self) -> None:
        # 广告审核需要 has 2 shingles of 5, 广告审核需求 shares the first: 1 of 3.
        assert self.similarity([("user", "广告审核需要")], [("user", "广告审核需求")]) == 1 / 3

    def test_roles_are_part_of_a_token(self) -> None:
        one = asked("a b c d e f g h", "i j k l m n o p")
        other = [("assistant", "a b c d e f g h"), ("user", "i j k l m n o p")]
        assert self.similarity(one, other) == 0
        assert self.similarity(one, asked("i j k l m n o p", "a b c d e f g h")) == 0

    def test_between_least_tokens_and_shingle_size_a_text_is_one_shingle(self) -> None:
        assert self.similarity([("user", "a b c d e f")], [("user", "a b, c d e F")], 8) == 1
        assert self.similarity([("user", "a b c d e f")], [("user", "a b c d e g")], 8) == 0
        rows = rows_of({"4": asked("a b c", "d"), "5": asked("a b c d", "e"), "9": asked("a " * 9)})
        sets = shingles(compared_turns(rows), 3, 8)
        assert sets.offsets.tolist() == [0, 0, 1, 4]
        # Of 4 tokens none, even where shingles are shorter; of 5 tokens 3, of 10 tokens 8.
        sets = shingles(compared_turns(rows), 3, 3)
        assert sets.offsets.tolist() == [0, 0, 3, 11]

    def test_a_row_has_the_same_shingles_in_any_company(self) -> None:
        talks = {str(n): asked(text_of(n, n), text_of(-n, n // 2)) for n in range(12)}
        together = shingles(compared_turns(rows_of(talks)), len(talks), 8)
        for index, (name, talk) in enumerate(talks.items()):
            alone = shingles(compared_turns(rows_of({name: talk})), 1, 8)
            assert together.of(index).tolist() == alone.values.tolist()


class TestWhoStays:
    """Rank: priority, source, row id; and only a row that stays takes others out."""

    LONG = text_of(0)
    NEAR = edited(LONG, [30])

    def test_near_duplicates_name_their_twin(self, tmp_path: Path) -> None:
        talks = {"1": asked(self.LONG), "2": asked(self.NEAR), "3": asked(text_of(1))}
        found = found_in(tmp_path, [rows_of(talks)])
        assert found.schema == pl.Schema(dict(DUPLICATES))
        # 60 words and "yes" are 61 tokens: 57 shingles, of which 5 hold the edited word.
        assert found.rows() == [("2", "s", "1", "s", "s.jsonl", 1, "near", 52 / 62)]

    @pytest.mark.parametrize("text", [LONG, NEAR])
    @pytest.mark.parametrize(
        ("priorities", "stays"),
        [({"a": 0, "b": 0}, "2"), ({"a": 1, "b": 0}, "1"), ({"a": -1, "b": 0}, "2")],
    )
    def test_priority_then_source(
        self, text: str, priorities: dict[str, int], stays: str, tmp_path: Path
    ) -> None:
        frames = [
            rows_of({"1": asked(self.LONG)}, "b"),
            rows_of({"2": asked(text)}, "a"),
        ]
        (row,) = found_in(tmp_path, frames, priorities).to_dicts()
        assert row["twin_id"] == stays
        assert {row["source"], row["twin_source"]} == {"a", "b"}
        assert row["twin_file"] == f"{row['twin_source']}.jsonl"

    def test_of_a_chain_both_ends_stay(self, tmp_path: Path) -> None:
        # 57 shingles; 5 per edit: a~b and b~c share 52 of 62 (.84), a and c 47 of 67 (.70).
        chain = [self.LONG, edited(self.LONG, [15]), edited(self.LONG, [15, 45])]
        talks = {str(n): asked(text) for n, text in enumerate(chain)}
        assert pairs(found_in(tmp_path, [rows_of(talks)])) == [("1", "0", "near")]
        # The middle first takes both ends out.
        talks = {"0": talks["1"], "1": talks["0"], "2": talks["2"]}
        assert pairs(found_in(tmp_path, [rows_of(talks)])) == [
            ("1", "0", "near"),
            ("2", "0", "near"),
        ]

    def test_copies_of_a_near_duplicate_go_with_it(self, tmp_path: Path) -> None:
        talks = {"1": asked(self.LONG), "2": asked(self.NEAR), "3": asked(self.NEAR.upper())}
        assert pairs(found_in(tmp_path, [rows_of(talks)])) == [
            ("2", "1", "near"),
            ("3", "1", "near"),
        ]

    def test_short_rows_and_near_off_are_exact_only(self, tmp_path: Path) -> None:
        short = {"1": asked("Is it so?", "Yes."), "2": asked("Is it so", "Yes.")}
        assert found_in(tmp_path, [rows_of(short)]).is_empty()
        talks = {"1": asked(self.LONG), "2": asked(self.NEAR), "3": asked(self.LONG)}
        found = found_in(tmp_path, [rows_of(talks)], options=DedupSettings(near=False))
        assert pairs(found) == [("3", "1", "exact")]

    def test_punctuation_alone_makes_a_near_duplicate(self, tmp_path: Path) -> None:
        talks = {"1": asked(self.LONG), "2": asked(self.LONG.replace(" ", ", "))}
        for threshold in (0.8, 1.0):
            options = DedupSettings(threshold=threshold)
            (row,) = found_in(tmp_path, [rows_of(talks)], options=options).to_dicts()
            assert (row["kind"], row["similarity"]) == ("near", 1.0)

    def test_chinese(self, tmp_path: Path) -> None:
        text = "".join(
            random.Random(0).choices("广告审核需要多长时间平台政策违规内容账户预算投放", k=80)
        )
        talks = {"1": asked(text), "2": asked(text[:40] + "新" + text[41:]), "3": asked(text[::-1])}
        assert pairs(found_in(tmp_path, [rows_of(talks)])) == [("2", "1", "near")]


def shingle_set(talk: Talk, size: int = 5) -> set[tuple[tuple[str, str], ...]]:
    """Shingles as the words themselves."""
    tokens = [(role, word) for role, content in talk for word in content.lower().split()]
    return {tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)}


def greedy(talks: Mapping[str, Talk], threshold: float) -> dict[str, dict[str, float]]:
    """The rule by brute force: of each row that goes, all kept twins and their similarities."""
    sets = {name: shingle_set(talk) for name, talk in talks.items()}
    kept: list[str] = []
    gone: dict[str, dict[str, float]] = {}
    for name in sorted(talks):
        twins = {}
        for other in kept:
            union = len(sets[name] | sets[other])
            if union and (shared := len(sets[name] & sets[other]) / union) >= threshold:
                twins[other] = shared
        if twins:
            gone[name] = twins
        else:
            kept.append(name)
    return gone


@st.composite
def corpora(draw: st.DrawFn) -> dict[str, Talk]:
    """A few texts with edited copies of themselves and of each other, in any order."""
    count = draw(st.integers(2, 16))
    texts: list[str] = []
    for number in range(count):
        if draw(st.booleans()) and texts:
            base = draw(st.sampled_from(texts))
            texts.append(edited(base, draw(st.lists(st.integers(0, 39), max_size=3))))
        else:
            texts.append(text_of(1000 + number, 40))
    order = draw(st.permutations(range(count)))
    return {f"{place:02}": asked(texts[number], "yes") for place, number in enumerate(order)}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(talks=corpora(), threshold=st.sampled_from([0.5, 0.7, 0.8, 1.0]))
def test_the_greedy_rule_by_brute_force(
    talks: dict[str, Talk], threshold: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One place per band: all that share a minimum are candidates, and no estimate is in the way.
    monkeypatch.setattr(search_module, "choose_bands", lambda _t, places: Bands(places, 1))
    monkeypatch.setattr(search_module, "_MARGIN", 100)
    options = DedupSettings(threshold=threshold)
    found = found_in(tmp_path, [rows_of(talks)], options=options)
    expected = greedy(talks, threshold)
    assert set(found["row_id"]) == set(expected)
    for row in found.iter_rows(named=True):
        assert row["similarity"] == pytest.approx(expected[row["row_id"]][row["twin_id"]])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(talks=corpora(), data=st.data())
def test_neither_order_nor_cut_of_the_rows_matters(
    talks: dict[str, Talk], data: st.DataObject, tmp_path: Path
) -> None:
    rows = pl.concat(
        [rows_of(talks), rows_of({f"{name}t": talk for name, talk in talks.items()}, "t")]
    )
    ranks = {"s": 1, "t": 1}
    whole = found_in(tmp_path, [rows], ranks)
    assert len(whole) >= len(talks)  # every row of "t" is a copy
    shuffled = rows[data.draw(st.permutations(range(len(rows))))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    bounds = [0, *cuts, len(rows)]
    parts = [shuffled[a:b] for a, b in pairwise(bounds)]
    assert found_in(tmp_path, parts, ranks).equals(whole)


class TestManyAlike:
    """Data in which very many rows resemble each other."""

    @pytest.fixture
    def compared(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Counts comparisons of shingles."""
        calls: list[int] = []

        def counted(*sets: object) -> float:
            calls.append(1)
            return jaccard(*sets)  # type: ignore[arg-type]

        monkeypatch.setattr(search_module, "jaccard", counted)
        return calls

    def test_copies_are_compared_with_the_one_that_stays(
        self, compared: list[int], tmp_path: Path
    ) -> None:
        base = text_of(0, 200)
        talks = {f"{n:04}": asked(edited(base, [n % 200])) for n in range(1000)}
        found = found_in(tmp_path, [rows_of(talks)])
        # The first 200 are near-duplicates of 0000, the others copies of those.
        assert len(found) == 999
        assert len(compared) <= 2 * 200

    def test_a_shared_template_costs_no_quadratic_work_and_removes_nothing(
        self, compared: list[int], tmp_path: Path
    ) -> None:
        # 40 words of template, 30 of one's own: 37 of 95 shingles shared (.39).
        template = text_of(0, 40)
        talks = {f"{n:04}": asked(f"{template} {text_of(n + 1, 30)}") for n in range(1500)}
        talks["twin"] = asked(f"{template} {edited(text_of(7, 30), [29])}")
        found = found_in(tmp_path, [rows_of(talks)])
        assert pairs(found) == [("twin", "0006", "near")]
        assert len(compared) <= len(talks)


def test_buckets_remember_their_first_kept_rows() -> None:
    # 40 rows share a band; every second one shares another with its right neighbour.
    rows = np.arange(40, dtype=np.uint64)
    buckets = bucket_rows([np.zeros(40, np.uint64), rows // 2, rows], 40)
    assert buckets.shares().all()
    for row in range(40):
        beside = set(range(min(row, 32))) | ({row - 1} if row % 2 else set())
        assert buckets.kept_beside(row).tolist() == sorted(beside)
        buckets.keep(row)
    alone = bucket_rows([rows, rows[::-1]], 40)
    assert not alone.shares().any()
    alone.keep(3)
    assert alone.kept_beside(4).tolist() == []


def test_planted_near_duplicates_are_found_and_nothing_else(tmp_path: Path) -> None:
    # 120 words and an answer: 117 shingles; one edit shares 112 of 122 (.92), two 107 of 127 (.84).
    # Bands find .9999 and .996 of them; of 300 expect less than one lost.
    talks = {}
    for n in range(300):
        text = text_of(n, 120)
        talks[f"{n:03}a"] = asked(text)
        talks[f"{n:03}b"] = asked(edited(text, [20, 70] if n % 2 else [50]))
        talks[f"{n:03}c"] = asked(edited(text, range(0, 120, 10)))  # .35: no duplicate
    found = found_in(tmp_path, [rows_of(talks)])
    assert {row[1] for row in pairs(found)} <= {f"{n:03}a" for n in range(300)}
    assert {row[0] for row in pairs(found)} <= {f"{n:03}b" for n in range(300)}
    assert len(found) >= 297


def test_datasketch_finds_no_pair_that_we_miss(tmp_path: Path) -> None:
    datasketch = pytest.importorskip("datasketch")
    talks = {}
    for n in range(100):
        text = text_of(n, 100)
        talks[f"{n:03}a"] = asked(text)
        talks[f"{n:03}b"] = asked(edited(text, [30]))  # 92 of 102 shared
    sketches = {}
    for name, talk in talks.items():
        sketches[name] = datasketch.MinHash(128)
        sketches[name].update_batch([repr(shingle).encode() for shingle in shingle_set(talk)])
    index = datasketch.MinHashLSH(0.8, 128)
    for name, sketch in sketches.items():
        index.insert(name, sketch)
    theirs = {
        name for name in talks if name[-1] == "b" and f"{name[:3]}a" in index.query(sketches[name])
    }
    ours = set(found_in(tmp_path, [rows_of(talks)])["row_id"])
    assert theirs <= ours


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    for near in (True, False):
        ticks: list[tuple[int, int]] = []
        frames = [rows_of({f"{part}{n}": asked(text_of(n)) for n in range(3)}) for part in "ab"]
        found_in(tmp_path, frames, options=DedupSettings(near=near), ticks=ticks)
        assert [done for done, _ in ticks] == list(range(1, len(ticks) + 1))
        assert ticks[-1] == (len(ticks), len(ticks))


def test_empty_corpora_and_parts(tmp_path: Path) -> None:
    assert found_in(tmp_path, []).rows() == []
    empty = rows_of({})
    assert found_in(tmp_path, [empty]).schema == pl.Schema(dict(DUPLICATES))
    full = rows_of({"1": asked("x y z u v w"), "2": asked("X y z u v w")})
    assert len(found_in(tmp_path, [empty, full, empty])) == 1


def test_mistakes_of_the_caller_are_named(tmp_path: Path) -> None:
    rows = rows_of({"1": asked(text_of(0)), "2": asked(edited(text_of(0), [5]))})
    with pytest.raises(ValueError, match="without a priority: s"):
        found_in(tmp_path, [rows], {"other": 0})
    part, prints = tmp_path / "part-0.parquet", tmp_path / "print-0.parquet"
    with pytest.raises(ValueError, match="1 parts, 0 fingerprints"):
        find_duplicates([part], [], {"s": 0}, SETTINGS)
    rows[::-1].write_parquet(part)
    with pytest.raises(ValueError, match="not those of its fingerprints"):
        find_duplicates([part], [prints], {"s": 0}, SETTINGS)


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    rows = rows_of({"1": asked(text_of(0)), "2": asked(edited(text_of(0), [5]))})
    assert len(found_in(tmp_path, [rows])) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"part-0.parquet", "print-0.parquet"}


def test_removal_keeps_order_and_says_why(tmp_path: Path) -> None:
    text = text_of(0)
    here = rows_of({"9": asked(text), "2": asked("Something else"), "1": asked(edited(text, [30]))})
    there = rows_of({"0": asked(text)}, "t")
    found = found_in(tmp_path, [here, there], {"s": 1, "t": 0})
    result = remove_duplicates(here, found)
    assert result.kept.equals(here[1:2])
    assert result.removed.schema == pl.Schema(dict(REMOVED))
    assert result.removed.select("row_id", "step", "reason", "detail").rows() == [
        ("9", "dedup", "exact_duplicate", "the same text as 0 of t (t.jsonl:1), which stays"),
        ("1", "dedup", "near_duplicate",
         "83.9% of its shingles shared with 0 of t (t.jsonl:1), which stays"),
    ]  # fmt: skip
    assert remove_duplicates(there, found).kept.equals(there)
    assert remove_duplicates(rows_of({}), found).kept.is_empty()
