"""The removal of a part's duplicates."""

from __future__ import annotations

import polars as pl

from sft.records import StepResult, place, removed_rows

STEP = "dedup"


def remove_duplicates(rows: pl.DataFrame, duplicates: pl.DataFrame) -> StepResult:
    """Rows without those that `find_duplicates` found (it may have found others, too).

    Reasons are "exact_duplicate" and "near_duplicate"; the detail names the row that stays.
    """
    kinds = duplicates.select(pl.exclude("source"))
    gone = rows.join(kinds, on="row_id", how="inner", maintain_order="left")
    kept = rows.join(kinds, on="row_id", how="anti", maintain_order="left")
    return StepResult(
        kept=kept,
        removed=removed_rows(
            gone.select(rows.columns),
            STEP,
            [f"{kind}_duplicate" for kind in gone["kind"]],
            [_detail(twin) for twin in gone.select(kinds.columns).iter_rows(named=True)],
        ),
    )


def _detail(twin: dict[str, str | int | float | None]) -> str:
    where = place(str(twin["twin_file"]), twin["twin_line"])  # type: ignore[arg-type]
    which = f"{twin['twin_id']} of {twin['twin_source']} ({where})"
    if twin["kind"] == "exact":
        return f"the same text as {which}, which stays"
    return f"{twin['similarity']:.1%} of its shingles shared with {which}, which stays"
