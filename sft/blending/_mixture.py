"""What an epoch holds, by source, language, domain or task."""

from __future__ import annotations

import numpy as np
import polars as pl

from sft.blending._keys import Ints
from sft.settings import Unit


def realised(frame: pl.DataFrame, drawn: Ints, column: str, by: Unit) -> pl.DataFrame:
    """The mixture of a draw by the values of a column.

    ``frame`` has a row per sample (in the order of their numbers) with ``column``, ``n_tokens``
    and ``n_supervised``; ``drawn`` are sample numbers, repeats count again. The result has the
    columns ``column``, ``samples``, ``tokens``, ``supervised_tokens`` and ``share`` (in the unit
    ``by``, 0 in an empty draw); every value of the frame has a row, also where nothing of it was
    drawn, sorted by value, null last.
    """
    times = pl.Series("times", np.bincount(drawn, minlength=len(frame)))
    counts = (
        frame.select(pl.col(column).alias("value"), "n_tokens", "n_supervised")
        .with_columns(times)
        .group_by("value")
        .agg(
            pl.col("times").sum().alias("samples"),
            (pl.col("times") * pl.col("n_tokens")).sum().alias("tokens"),
            (pl.col("times") * pl.col("n_supervised")).sum().alias("supervised_tokens"),
        )
        .sort("value", nulls_last=True)
    )
    whole = counts[by.value].sum()
    share = pl.col(by.value) / whole if whole else pl.lit(0.0)
    return counts.with_columns(share.alias("share")).rename({"value": column})
