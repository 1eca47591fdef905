"""Noise of real judges: answers that were judged about twenty times by the same judge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from judge.drift import NoiseModel

DATA = "topical_chat"
JUDGES = (
    ("gpt-3.5-turbo-0613/geval", "gpt-3.5-turbo-0613/analyze_rate"),
    ("gpt-3.5-turbo-0613/rate_explain", "gpt-3.5-turbo-0613/llm_eval_no_cot"),
    ("gpt-3.5-turbo-0613/rate_explain_auto_cot", "gpt-3.5-turbo-0613/analyze_rate_auto_cot"),
)
"""Pairs of judges: four criteria of each make eight."""
SAMPLES = 20
_FEWEST = 15


def pools(
    folder: Path, judges: tuple[str, str], questions: int, samples: int, rng: np.random.Generator
) -> Iterator[tuple[str, NoiseModel]]:
    """Per system its noise on ``questions`` questions, drawn from those that it has.

    Eight criteria (four of each judge) and their plain mean. A night's score is the mean of
    ``samples`` judgements, drawn without replacement from the twenty of an answer.
    """
    frame = pl.read_parquet(folder / f"{DATA}.parquet").filter(pl.col("judge_name").is_in(judges))
    for (system,), rows in sorted(frame.group_by("system"), key=lambda group: str(group[0])):
        yield str(system), _noise(rows, questions, samples, rng)


def _noise(
    rows: pl.DataFrame, questions: int, samples: int, rng: np.random.Generator
) -> NoiseModel:
    rows = rows.filter(pl.col("judge_scores").list.len() >= _FEWEST)
    columns = sorted(rows.select("judge_name", "criterion").unique().iter_rows())
    full = rows.group_by("item_id").len().filter(pl.col("len") == len(columns))
    items = rng.permutation(np.array(sorted(full["item_id"]), dtype=object))[:questions]
    at = {item: row for row, item in enumerate(items)}
    draws = SAMPLES * samples
    pool = np.empty((draws, len(items), len(columns) + 1))
    wanted = ["item_id", "judge_name", "criterion", "judge_scores"]
    scales = ["judge_scale_min", "judge_scale_max"]
    for item, judge, criterion, scores, low, high in rows.select(*wanted, *scales).iter_rows():
        if item in at:
            seen = (np.array(scores) - low) / (high - low)
            order = rng.permuted(np.tile(np.arange(len(seen)), (draws, 1)), axis=1)[:, :samples]
            picked = seen[order].mean(axis=1)
            if samples == 1:
                picked = seen[np.arange(draws) % len(seen)]
            pool[:, at[item], columns.index((judge, criterion))] = picked
    pool[..., -1] = pool[..., :-1].mean(axis=-1)
    names = [f"{judge.split('/')[1]}: {criterion}" for judge, criterion in columns]
    weights = [1.0, *[0.0] * (len(columns) - 1), 1 / len(columns)]
    return NoiseModel.from_pool(pool, (*names, "overall"), weights)
