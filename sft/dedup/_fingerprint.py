"""What a part tells about its rows, so that duplicates can be found among all parts."""

from __future__ import annotations

import numpy as np
import polars as pl

from sft.dedup._minhash import signatures
from sft.dedup._shingles import compared_turns, exact_keys, shingles
from sft.settings import DedupSettings


def fingerprint(rows: pl.DataFrame, settings: DedupSettings) -> pl.DataFrame:
    """One fingerprint per row, in the rows' order: ``row_id, source, exact, signature``.

    ``exact`` is the key of the folded text (null where a row has no turns but the system's, which
    makes it nobody's duplicate); ``signature`` (an array of ``settings.permutations`` numbers) is
    null where a row is too short for near-duplicates, and everywhere if those are not looked for.
    """
    spoken = compared_turns(rows)
    kind = pl.Array(pl.UInt32, settings.permutations)
    if settings.near:
        sets = shingles(spoken, len(rows), settings.shingle)
        signature = pl.Series("signature", signatures(sets, settings.permutations), dtype=kind)
        present = pl.Series("present", np.diff(sets.offsets) > 0)
    else:
        signature = pl.Series("signature", [None] * len(rows), dtype=kind)
        present = pl.Series("present", [False] * len(rows), dtype=pl.Boolean)
    return rows.select("row_id", "source").with_columns(
        pl.Series("exact", exact_keys(spoken, len(rows)), dtype=pl.Binary),
        pl.when(present).then(signature).otherwise(None).alias("signature"),
    )
