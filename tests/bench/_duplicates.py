"""Near-duplicates and overlaps with questions: recall, precision, speed and memory on planted data.

All texts are synthetic: words of random letters with the frequencies of a language (Zipf), and for
overlaps the shipped questions among them. Each measurement runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from judge.questions import QuestionSet, load_questions
from judge.records import Question
from sft.decontamination import contamination_index, decontaminate
from sft.dedup import compared_turns, find_duplicates, fingerprint, jaccard, shingles
from sft.records import ROWS
from sft.settings import DecontaminationSettings, DedupSettings
from tests.bench._memory import _peak_mib

_ROOT = Path(__file__).resolve().parents[2]
_PART = 20_000
_SETTINGS = DedupSettings()
_SHARES = {
    "unique": 0.56,
    "template": 0.20,  # one of three instructions of 40 words, and 15 to 60 words of its own
    "copy": 0.08,  # of a unique row, in upper case
    "1-3 % edited": 0.08,  # of the words of a unique row
    "10 % edited": 0.04,
    "template edited": 0.04,  # one word of a row with a template
}
"""Kind → share of the rows."""
_COPIES = ("copy", "1-3 % edited", "10 % edited", "template edited")

Talk = Sequence[tuple[str, str]]


class Words:
    """Texts of words of random letters, with Zipf's frequencies."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        lengths = self.rng.integers(2, 10, 20_000)
        self._words = np.array(["".join(self.rng.choice(letters, n)) for n in lengths])
        ranks = 1.0 / np.arange(1, 20_001)
        self._cumulated = np.cumsum(ranks / ranks.sum())

    def text(self, least: int, most: int) -> str:
        """Between ``least`` and ``most`` words."""
        chances = self.rng.random(self.rng.integers(least, most + 1))
        places = np.searchsorted(self._cumulated, chances)
        return " ".join(self._words[np.minimum(places, len(self._words) - 1)])

    def edited(self, text: str, share: float) -> str:
        """A text with a share of its words, at least one, replaced."""
        words = text.split()
        places = self.rng.choice(len(words), max(1, round(share * len(words))), replace=False)
        for place in places:
            words[place] = str(self._words[self.rng.integers(len(self._words))])
        return " ".join(words)


def duplicates(sizes: Sequence[int] = (10_000, 100_000)) -> None:
    """Print what is found of planted near-duplicates; beside datasketch where it is installed."""
    engines = ["plumbline"]
    if importlib.util.find_spec("datasketch"):
        engines.append("datasketch")
    print("\nNear-duplicates (Jaccard similarity from 0.8 on, 128 permutations, 5 tokens): share")
    print("found of the planted copies that are so similar to their original (how many there are)")
    print(f"{'':12}{'rows':>9}" + "".join(f"{kind:>18}" for kind in _COPIES)
          + f"{'wrong':>7}{'rows/s':>8}{'peak MiB':>10}")  # fmt: skip
    for size in sizes:
        with tempfile.TemporaryDirectory() as at:
            _child("plant", at, str(size))
            for engine in engines:
                row = _child(engine, at)
                shares = "".join(
                    f"{found / n:>10.2%} ({n:>5})" if n else f"{'none':>18}"
                    for n, found in row["kinds"].values()
                )
                print(f"{engine:12}{size:>9}{shares}{row['wrong']:>7}"
                      f"{size / row['wall']:>8,.0f}{row['peak']:>10.0f}", flush=True)  # fmt: skip
    print("wrong: removed rows that are no copies, or less similar than that to their original")


def contamination(clean: int = 40_000) -> None:
    """Print what is found of planted overlaps with questions, and false alarms on clean rows."""
    result = _child("contamination", str(clean))
    print("\nOverlaps with the 45 shipped questions and 10 Chinese ones (8 words, 16 characters)")
    print(f"{'planted':52}{'rows':>7}{'found':>9}")
    for kind, (rows, found) in result["kinds"].items():
        print(f"{kind:52}{rows:>7}{found / rows:>9.1%}")
    print(f"{result['speed']:,.0f} rows/s of {result['characters']:.0f} characters, "
          f"peak {result['peak']:.0f} MiB")  # fmt: skip


def _child(kind: str, *arguments: str) -> dict[str, Any]:
    """What a process of its own says."""
    command = [sys.executable, "-m", "tests.bench._duplicates", kind, *arguments]
    done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _rows(names: Sequence[str], talks: Sequence[Talk]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row_id": names,
            "source": "s",
            "file": "s.jsonl",
            "line": range(len(names)),
            "language": None,
            "messages": [
                [{"role": role, "content": content} for role, content in talk] for talk in talks
            ],
        },
        schema=dict(ROWS),
    )


def _asked(text: str) -> Talk:
    """A text cut into a question and its answer."""
    words = text.split()
    return [("user", " ".join(words[: len(words) // 3])),
            ("assistant", " ".join(words[len(words) // 3 :]))]  # fmt: skip


def _plant(folder: Path, size: int) -> dict[str, Any]:
    """Write parts of planted rows, and the truth about them."""
    words = Words()
    numbers = {kind: round(share * size) for kind, share in _SHARES.items()}
    templates = [words.text(40, 40) for _ in range(3)]
    texts = {"unique": [words.text(80, 230) for _ in range(numbers["unique"])]}
    texts["template"] = [
        f"{templates[n % 3]} {words.text(15, 60)}" for n in range(numbers["template"])
    ]
    edits: dict[str, Callable[[str], str]] = {
        "copy": str.upper,
        "1-3 % edited": lambda text: words.edited(text, words.rng.uniform(0.01, 0.03)),
        "10 % edited": lambda text: words.edited(text, 0.1),
        "template edited": lambda text: words.edited(text, 0),
    }
    truth = []
    # Copies come later by rank than all originals, so that they are what goes.
    records = [
        (f"a-{kind}-{n:07}", _asked(text)) for kind in texts for n, text in enumerate(texts[kind])
    ]
    for kind, edit in edits.items():
        home = "template" if kind == "template edited" else "unique"
        originals = words.rng.choice(numbers[home], numbers[kind], replace=False).tolist()
        for number, original in enumerate(originals):
            talks = [_asked(texts[home][original]), _asked(edit(texts[home][original]))]
            sets = shingles(compared_turns(_rows(["1", "2"], talks)), 2, _SETTINGS.shingle)
            records.append((f"b-{kind}-{number:07}", talks[1]))
            truth.append((records[-1][0], kind, jaccard(sets.of(0), sets.of(1))))
    order = words.rng.permutation(len(records))
    for part in range(0, len(records), _PART):
        chosen = [records[number] for number in order[part : part + _PART].tolist()]
        names, spoken = zip(*chosen, strict=True)
        _rows(names, spoken).write_parquet(folder / f"part-{part // _PART:05}.parquet")
    pl.DataFrame(truth, schema=["row_id", "kind", "similarity"], orient="row").write_parquet(
        folder / "truth.parquet"
    )
    return {}


def _plumbline(parts: Sequence[Path]) -> set[str]:
    """Rows that go."""
    prints = [part.with_name(f"print-{part.name}") for part in parts]
    for part, to in zip(parts, prints, strict=True):
        fingerprint(pl.read_parquet(part), _SETTINGS).write_parquet(to)
    found = find_duplicates(parts, prints, {"s": 0}, _SETTINGS)
    return set(found["row_id"])


def _datasketch(parts: Sequence[Path]) -> set[str]:
    """Rows that go by the same rule, its candidates being taken for duplicates."""
    import datasketch  # type: ignore[import-not-found,unused-ignore]

    names, signed = [], []
    for part in parts:
        rows = pl.read_parquet(part)
        names += rows["row_id"].to_list()
        sets = []
        for talk in rows["messages"].to_list():
            tokens = [f"{m['role']} {word}" for m in talk for word in m["content"].lower().split()]
            size = _SETTINGS.shingle
            sets.append(
                [" ".join(tokens[n : n + size]).encode() for n in range(len(tokens) - size + 1)]
            )
        signed += datasketch.MinHash.bulk(sets, num_perm=_SETTINGS.permutations)
    index = datasketch.MinHashLSH(_SETTINGS.threshold, _SETTINGS.permutations)
    gone = set()
    for number in sorted(range(len(names)), key=names.__getitem__):
        if index.query(signed[number]):
            gone.add(names[number])
        else:
            index.insert(names[number], signed[number])
    return gone


def _measure(find: Callable[[Sequence[Path]], set[str]], folder: Path) -> dict[str, Any]:
    """How an engine does on planted rows."""
    started = time.perf_counter()
    gone = find(sorted(folder.glob("part-*.parquet")))
    wall, peak = time.perf_counter() - started, _peak_mib()
    truth = pl.read_parquet(folder / "truth.parquet").filter(
        pl.col("similarity") >= _SETTINGS.threshold
    )
    kinds = {}
    for kind in _COPIES:
        wanted = set(truth.filter(pl.col("kind") == kind)["row_id"])
        kinds[kind] = (len(wanted), len(wanted & gone))
    wrong = len(gone - set(truth["row_id"]))
    return {"kinds": kinds, "wrong": wrong, "wall": wall, "peak": peak}


_CHINESE = (
    "为什么我的广告组在不同地区的审核中没有通过",
    "如何在平台上创建一个新的广告系列并设置预算",
    "请列出十条避免广告被拒绝的建议和注意事项",
    "请解释什么是机器审核以及它和人工审核有什么区别",
    "下面这段文字违反了哪一条广告政策呢：七天瘦十斤无效退款",
    "如何创建广告组",
    "怎样修改广告的出价",
    "什么是竞价广告呢",
    "请用中文介绍一下大熊猫的生活习性和主要分布地区",
    "把下面的广告文案改写成不违反政策的版本：全世界第一的护肤品",
)
_CHARACTERS = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下"
)


def _disguised(text: str) -> str:
    """Upper case, full width, other punctuation."""
    wide = "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text.upper())
    return wide.replace(" ", " — ")


def _overlaps(sets: Sequence[QuestionSet], words: Words) -> Iterator[tuple[str, Talk]]:
    """Planted conversations with their kinds."""
    for each in sets:
        name = "en" if each.name != "zh" else "zh"
        size = 2 if name == "zh" else 1
        gap = "" if name == "zh" else " "
        for question in each:
            units = list(question.question) if name == "zh" else question.question.split()
            around = [words.text(20, 40) for _ in range(3)]
            yield f"{name}: question", [("user", question.question), ("assistant", around[0])]
            yield f"{name}: question disguised", [("user", _disguised(question.question))]
            if len(units) >= 5 * size:
                text = f"{around[0]}. {question.question} {around[1]}"
                yield f"{name}: question inside a prompt", [("user", text)]
            if len(units) >= 12 * size:
                middle = gap.join(units[len(units) // 2 - 5 * size : len(units) // 2 + 5 * size])
                yield f"{name}: ten words (20 characters) of it", [("user", middle)]
                changed = [unit if n % (6 * size) else "foo" for n, unit in enumerate(units)]
                yield (
                    f"{name}: every sixth word replaced (beyond the rule)",
                    [("user", gap.join(changed))],
                )
            if question.reference and len(question.reference.split()) >= 20:
                said = " ".join(question.reference.split()[5:17])
                yield f"{name}: twelve words of a reference", [
                    ("user", around[0]), ("assistant", f"{around[1]} {said} {around[2]}"),
                ]  # fmt: skip


def _contamination(clean: int) -> dict[str, Any]:
    """Planted overlaps and clean rows, looked through."""
    words = Words()
    chinese = tuple(
        Question(question_id=str(number), question=text) for number, text in enumerate(_CHINESE)
    )
    sets = [
        load_questions("monetization"),
        QuestionSet(name="zh", description="", questions=chinese),
    ]
    index = contamination_index(sets, DecontaminationSettings())
    planted = list(_overlaps(sets, words))
    policy = "What ad policy does the following text violate?"
    characters = np.array(list(_CHARACTERS))
    for number in range(1000):
        own = words.text(8, 30)
        planted.append(("clean: the instruction of three questions", [("user", f"{policy} {own}")]))
        text = "".join(words.rng.choice(characters, 200))
        planted.append(("clean: Chinese", [("user", text[:50]), ("assistant", text[50:])]))
        some = sets[0].questions[number % 40 : number % 40 + 5]
        pieces = re.findall(r"\w+", " ".join(question.question for question in some))
        mixed = " ".join(words.rng.permutation(pieces))
        planted.append(("clean: words of five questions, mixed", _asked(mixed)))
    planted += [("clean: other texts", _asked(words.text(80, 230))) for _ in range(clean)]
    rows = _rows([str(number) for number in range(len(planted))], [talk for _, talk in planted])
    started = time.perf_counter()
    gone = [
        name
        for first in range(0, len(rows), _PART)
        for name in decontaminate(rows[first : first + _PART], index).removed["row_id"]
    ]
    wall, peak = time.perf_counter() - started, _peak_mib()
    kinds: dict[str, list[int]] = {}
    numbers = set(map(int, gone))
    for number, (kind, _) in enumerate(planted):
        found = kinds.setdefault(kind, [0, 0])
        found[0] += 1
        found[1] += number in numbers
    length = sum(len(content) for _, talk in planted for _, content in talk) / len(planted)
    return {"kinds": kinds, "speed": len(rows) / wall, "characters": length, "peak": peak}


def _main(kind: str, *arguments: str) -> dict[str, Any]:
    """One measurement."""
    match kind:
        case "plant":
            return _plant(Path(arguments[0]), int(arguments[1]))
        case "contamination":
            return _contamination(int(arguments[0]))
        case "plumbline":
            return _measure(_plumbline, Path(arguments[0]))
        case _:
            return _measure(_datasketch, Path(arguments[0]))


if __name__ == "__main__":
    print(json.dumps(_main(*sys.argv[1:])))
