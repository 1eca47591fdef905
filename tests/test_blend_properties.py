"""Any rows whatever: each is a sample or in the quarantine, and shares hold within a sequence."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft.demo import write_demo
from sft.tokenisation import SampleStore
from tests.test_blend import blended, changed

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40) | st.sampled_from(
    [
        "What is a tide, and why does it come twice a day?",
        "The sea rises and falls with the moon. " * 3,
        "Write to li.na@post.cn or +86 138 1234 5678.",
        "again and again " * 60,
        "什么是推广计划？请用一句话解释。",
        "</s><|answer|>",
        "word " * 700,
    ]
)
records = st.lists(st.tuples(text, text), min_size=6, max_size=40)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo"), rows=10).parent / "tokenizer"


@given(first=records, second=records, ratio=st.sampled_from([0.1, 0.5, 0.75]))
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_rows_add_up_and_shares_hold(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: Path,
    first: list[tuple[str, str]],
    second: list[tuple[str, str]],
    ratio: float,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    shutil.copytree(tokenizer, folder / "tokenizer")
    sources = []
    for name, pairs in (("one", first), ("two", second)):
        # Some good rows each, so that no source, and no epoch, ends up with none.
        good = [
            (f"How does the tide come to {name} in year {year}?", f"With the {year}th moon, I say.")
            for year in range(3, 9)
        ]
        lines = [json.dumps({"instruction": q, "output": a}) for q, a in (*pairs, *good)]
        (folder / f"{name}.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")
        sources.append(
            {"name": name, "files": f"{name}.jsonl", "domain": name, "task": "t", "licence": "none"}
        )
    (folder / "base.yaml").write_text("name: any\n")
    config = changed(
        folder / "base.yaml",
        sources=sources,
        max_unreadable=1.0,
        epochs=2,
        batch=2,
        tokens={"tokenizer": "tokenizer", "length": 256},
        decontaminate={"against": ["monetization"]},
        blend={"ratios": {"one": ratio, "two": 1 - ratio}},
    )
    report = blended(config, folder / "out").report
    store = SampleStore.open(folder / "out" / "samples")
    quarantine = pl.read_parquet(folder / "out" / "quarantine.parquet")
    read = Counter({"one": len(first) + 7, "two": len(second) + 7})
    kept = store.samples.unique("row_id")["source"].to_list()
    assert Counter(kept) + Counter(quarantine["source"].to_list()) == read
    assert not set(store.samples["row_id"]) & set(quarantine["row_id"])
    for epoch in report["blends"][0]["epochs"]:
        total = report["blends"][0]["total"]
        for entry in epoch["shares"]:
            wanted = {"one": ratio, "two": 1 - ratio}[entry["source"]] * total
            assert abs(entry["tokens"] - wanted) <= 256
        assert epoch["step_balance"]["worst"] <= 256
