"""The cleaning step: a frame of rows in, the clean ones and the removed ones out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from sft.cleaning import _language, _repair, _repetition
from sft.cleaning._structure import Change, Refusal, Turn
from sft.cleaning._tallies import Tallies
from sft.errors import UsageError
from sft.records import ROWS, StepResult, place, removed_rows
from sft.settings import CleanSettings, Source

STEP = "clean"

REASONS = (
    "misplaced_system",
    "no_prompt",
    "no_answer",
    "empty_prompt",
    "empty_answer",
    "consecutive_answers",
    "too_long",
    "short_answer",
    "broken_encoding",
    "repetition",
    "language",
)
"""Why rows are removed; of several reasons, the first."""

_ALTERNATING = r"\As?(?:ua)+\z"
_CHARACTERS_PER_LOSS = 200


def clean(rows: pl.DataFrame, sources: Mapping[str, Source], settings: CleanSettings) -> StepResult:
    """Repair rows, bring their turns in order, and remove what is no good example.

    ``rows`` has the columns of `sft.records.ROWS`; ``sources`` (name → source) says which languages
    a source may hold. Every row is kept or removed, in the order of the input; what becomes of a
    row depends on that row alone. Kept rows have their ``language`` filled, and their ``row_id``
    unchanged; removed rows come out as they came in. Cleaning kept rows again changes nothing.

    ``changed`` counts the kept rows with a repair, by `CHANGES`; ``found`` counts, as
    "replacement_character", the U+FFFD that kept rows still hold. The reasons of removals are
    `REASONS`.

    Raises UsageError if a source declares a language that the identifier does not know, and
    ValueError for a source that is not in ``sources`` and for an unknown role.
    """
    declared = declared_languages(sources)
    if strange := sorted(set(rows["source"]) - set(declared)):
        raise ValueError(f"rows of sources that are not described: {', '.join(strange)}")
    talks = _talks(rows)
    tallies = Tallies()
    keep: list[bool] = []
    languages: list[str | None] = []
    mended: dict[int, tuple[Turn, ...]] = {}
    refusals: list[Refusal] = []
    columns = (rows["source"].to_list(), rows["file"].to_list(), rows["line"].to_list())
    for row, (source, file, line) in enumerate(zip(*columns, strict=True)):
        verdict = _judge(talks.turns(row), talks.suspect[row], declared[source], settings)
        keep.append(verdict.refusal is None)
        if verdict.refusal is not None:
            refusals.append(verdict.refusal)
            continue
        languages.append(verdict.language)
        if verdict.changes:
            mended[row] = verdict.turns
        tallies.add(source, place(file, line), verdict.changes)
        if lost := sum(turn.content.count(_repair.REPLACEMENT) for turn in verdict.turns):
            tallies.found[source, "replacement_character"] += lost
    kept = _with_turns(rows, mended).filter(pl.Series(keep, dtype=pl.Boolean))
    return StepResult(
        kept=kept.with_columns(pl.Series("language", languages, dtype=pl.String)).select(*ROWS),
        removed=removed_rows(
            rows.filter(~pl.Series(keep, dtype=pl.Boolean)),
            STEP,
            (refusal.reason for refusal in refusals),
            (refusal.detail for refusal in refusals),
        ),
        changed=tallies.changed,
        found=tallies.found,
        examples=tuple(tallies.examples),
    )


def declared_languages(sources: Mapping[str, Source]) -> dict[str, frozenset[str]]:
    """Name of a source → the languages that it may hold; empty: any.

    Raises UsageError for a language that the identifier does not know.
    """
    declared = {}
    for name, source in sources.items():
        declared[name] = _language.languages_of(source.languages)
        unknown = sorted(declared[name] - _language.known_languages())
        if unknown:
            raise UsageError(
                f"source {name}: languages: no language {', '.join(map(repr, unknown))} is known; "
                'use codes of ISO 639-1, such as en, zh, de, or "code"'
            )
    return declared


class _Verdict(NamedTuple):
    turns: tuple[Turn, ...]
    changes: tuple[Change, ...]
    language: str | None
    refusal: Refusal | None


def _judge(
    turns: tuple[Turn, ...], suspect: bool, declared: frozenset[str], settings: CleanSettings
) -> _Verdict:
    """What becomes of one row."""
    changes: tuple[Change, ...] = ()
    refusal: Refusal | None = None
    if suspect:
        turns, changes, refusal = _repair.mend(turns)
    refusal = refusal or _blemish(turns, settings)
    if refusal is not None:
        return _Verdict(turns, changes, None, refusal)
    ruling = _language.rule(turns, declared, settings.language_confidence)
    if ruling.refusal is not None:
        refusal = Refusal("language", ruling.refusal)
    return _Verdict(turns, changes, ruling.language, refusal)


def _blemish(turns: Sequence[Turn], settings: CleanSettings) -> Refusal | None:
    """Why a row in order is no good example, whatever its language."""
    sizes = [len(turn.content) for turn in turns]
    if sum(sizes) > settings.max_chars:
        return Refusal("too_long", f"{sum(sizes)} characters (at most {settings.max_chars})")
    answers = [turn.content for turn in turns if turn.role == "assistant"]
    longest = max(map(len, answers))
    if longest < settings.min_answer_chars:
        return Refusal(
            "short_answer",
            f"no answer has more than {longest} characters (at least {settings.min_answer_chars})",
        )
    for number, turn in enumerate(turns, start=1):
        broken = turn.content.count(_repair.REPLACEMENT)
        if broken > max(
            1, len(turn.content) / _CHARACTERS_PER_LOSS
        ) and not _repair.speaks_of_encodings(turns):
            return Refusal(
                "broken_encoding",
                f"turn {number}: {broken} of {len(turn.content)} characters are lost (U+FFFD)",
            )
    for answer in answers:
        if run := _repetition.endless_run(answer):
            return Refusal("repetition", f"{run.unit!r} {run.times} times on end")
        share = _repetition.repetition(answer)
        if share > settings.max_repetition:
            return Refusal(
                "repetition", f"repetition {share:.2f} (at most {settings.max_repetition:g})"
            )
    return None


@dataclass(frozen=True, slots=True)
class _Talks:
    """The turns of all rows, flat; row r has those from ``starts[r]`` to ``starts[r + 1]``."""

    roles: list[str]
    contents: list[str]
    starts: list[int]
    suspect: list[bool]
    """Of each row, whether it may need a repair."""

    def turns(self, row: int) -> tuple[Turn, ...]:
        here = slice(self.starts[row], self.starts[row + 1])
        return tuple(map(Turn, self.roles[here], self.contents[here]))


def _talks(rows: pl.DataFrame) -> _Talks:
    flat = (
        rows.select(pl.int_range(pl.len()).alias("row"), "messages")
        .filter(pl.col("messages").list.len() > 0)
        .explode("messages")
        .unnest("messages")
        .with_columns(pl.col("content").fill_null(""))
    )
    unknown = flat.filter(~pl.col("role").is_in(["system", "user", "assistant"]).fill_null(False))
    if len(unknown):
        raise ValueError(f"row {unknown['row'][0]} has the role {unknown['role'][0]!r}")
    by_row = (
        flat.with_columns(
            (pl.col("content") == "").alias("empty"),
            _repair.suspect(flat["content"]).alias("suspect"),
        )
        .group_by("row", maintain_order=True)
        .agg(
            (pl.col("empty") | pl.col("suspect")).any().alias("suspect"),
            pl.col("role").str.head(1).str.join("").alias("order"),
            pl.len().alias("turns"),
        )
        .with_columns(pl.col("suspect") | ~pl.col("order").str.contains(_ALTERNATING))
    )
    sizes = [0] * len(rows)
    suspect = [True] * len(rows)
    for row, is_suspect, turns in by_row.select("row", "suspect", "turns").iter_rows():
        sizes[row], suspect[row] = turns, is_suspect
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    return _Talks(flat["role"].to_list(), flat["content"].to_list(), starts, suspect)


def _with_turns(rows: pl.DataFrame, mended: Mapping[int, Sequence[Turn]]) -> pl.DataFrame:
    """The rows with other turns in some of them (row number → turns)."""
    if not mended:
        return rows
    numbers = pl.Series("row", sorted(mended), dtype=pl.UInt32)
    messages = pl.Series(
        "messages",
        [[turn._asdict() for turn in mended[row]] for row in numbers],
        dtype=ROWS["messages"],
    )
    numbered = rows.with_row_index("row")
    changed = numbered.filter(pl.col("row").is_in(numbers.implode())).with_columns(messages)
    same = numbered.filter(~pl.col("row").is_in(numbers.implode()))
    return pl.concat([same, changed]).sort("row").drop("row")
