"""What the calls behind a run cost: money, tokens and time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from judge.report._facts import call_keys
from judge.report._source import Source

Json = dict[str, Any]

SHARED = None
"""Stands for the criterion of calls that cover several criteria."""


def spending(source: Source) -> Json | None:
    """The ``spending`` block: the calls that the verdicts were read from, and their follow-ups.

    None for the offline baseline, which makes no calls. A call counts once, however many verdicts
    were read from it; per model it counts for the model whose answer was judged, and per criterion
    where it covers one, else under the criterion null.
    """
    if source.offline:
        return None
    verdicts = source.verdicts
    calls = source.ledger.call_frame(call_keys(verdicts)).with_columns(
        pl.coalesce("parent", "key").alias("unit")
    )
    owners = (
        verdicts.filter(pl.col("call_key").is_not_null())
        .group_by("call_key")
        .agg(
            pl.col("model").first(),
            pl.col("judge").first(),
            pl.when(pl.col("criterion").n_unique() == 1)
            .then(pl.col("criterion").first())
            .alias("criterion"),
        )
        .rename({"call_key": "unit", "model": "answer_model"})
    )
    rows = calls.join(owners, on="unit", how="left")
    names = [criterion.criterion for criterion in source.rubric.criteria]
    shared = rows.filter(pl.col("criterion").is_null())
    return {
        "total": summary(rows),
        "verdicts": len(verdicts),
        "repaired_share": float(verdicts["repaired"].mean() or 0.0) if len(verdicts) else None,  # type: ignore[arg-type]
        "judges": [
            {"judge": member.judge, **summary(rows.filter(pl.col("judge") == member.judge))}
            for member in source.members
        ],
        "models": [
            {"model": model, **summary(rows.filter(pl.col("answer_model") == model))}
            for model in source.models
        ],
        "criteria": [
            *(
                {"criterion": name, **summary(rows.filter(pl.col("criterion") == name))}
                for name in names
            ),
            *([{"criterion": SHARED, **summary(shared)}] if len(shared) else []),
        ],
    }


def summary(calls: pl.DataFrame) -> Json:
    """Sums over calls, each counted once.

    ``follow_ups`` are requests for a usable reply; ``faults`` are tries that failed before the one
    that came back. ``cost`` is in USD and None where the cost of a call is unknown (``priced``
    counts the known ones). ``cached_share`` is the share of the prompt tokens that the server had
    cached, over calls that say so. ``wall_s`` runs from the first start to the last end: a run that
    reuses older calls spans their days, too.
    """
    once = calls.unique(["key", "generation"], maintain_order=True)
    n = len(once)
    known = once.filter(
        pl.col("cached_tokens").is_not_null() & pl.col("prompt_tokens").is_not_null()
    )
    read = int(known["prompt_tokens"].sum())
    priced = n - once["cost"].null_count()
    started, ended = _span(once)
    return {
        "calls": n,
        "follow_ups": n - once["parent"].null_count(),
        "attempts": int(once["attempts"].sum()),
        "faults": int(once["attempts"].sum()) - n,
        "prompt_tokens": int(once["prompt_tokens"].sum()),
        "cached_tokens": int(once["cached_tokens"].sum()),
        "completion_tokens": int(once["completion_tokens"].sum()),
        "cached_share": int(known["cached_tokens"].sum()) / read if read else None,
        "priced": priced,
        "cost": float(once["cost"].sum()) if n and priced == n else None,
        "latency_median_s": once["latency_s"].median(),
        "latency_p95_s": once["latency_s"].quantile(0.95, "linear"),
        "first_at": None if started is None else started.isoformat(timespec="seconds"),
        "last_at": None if ended is None else ended.isoformat(timespec="seconds"),
        "wall_s": None if started is None or ended is None else (ended - started).total_seconds(),
    }


def _span(calls: pl.DataFrame) -> tuple[datetime | None, datetime | None]:
    starts = [datetime.fromisoformat(text) for text in calls["started_at"]]
    if not starts:
        return None, None
    ends = [
        start + timedelta(seconds=latency)
        for start, latency in zip(starts, calls["latency_s"], strict=True)
    ]
    return min(starts), max(ends)
