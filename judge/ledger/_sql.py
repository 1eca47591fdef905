"""The ledger in SQL, the same for every database."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from judge.errors import LedgerError
from judge.ledger import _rows
from judge.ledger._owner import is_gone
from judge.ledger._protocol import Attempt, Call, Claim, StoredVerdict
from judge.ledger._rows import Row
from judge.ledger._sql_records import SqlRecords
from judge.ledger._sql_tables import dated, part

if TYPE_CHECKING:
    import polars as pl

_VALUES_PER_STATEMENT = 2_000
_COMPRESSION = 1

_CURRENT_VERDICTS = """
SELECT {columns} FROM (
  SELECT *, row_number() OVER (
    PARTITION BY question_id, question_hash, model, answer_sample, answer_hash, criterion, ruler,
      judge, sample, occasion
    ORDER BY generation DESC, parser DESC, id DESC
  ) AS place FROM verdicts {where}
) AS ranked WHERE place = 1 ORDER BY id
"""

_CLAIM = """
INSERT INTO claims (key, generation, owner, expires) VALUES {rows}
ON CONFLICT (key) DO UPDATE
SET generation = excluded.generation, owner = excluded.owner, expires = excluded.expires
WHERE claims.owner = excluded.owner OR claims.expires <= {now} OR {gone}
RETURNING key
"""


class SqlLedger(SqlRecords):
    """A ledger in an SQL database; see `Ledger` for what each method promises."""

    def calls(self, keys: Sequence[bytes]) -> dict[bytes, Call]:
        """The newest generation of each call that the ledger holds."""
        found: dict[bytes, Call] = {}
        for row in self._select(_rows.CALL_COLUMNS, "calls", {"key": keys}, "generation"):
            call = _call(row)
            found[call.key] = call
        return found

    def generations(self, key: bytes) -> list[Call]:
        """All generations of a call, the oldest first."""
        rows = self._select(_rows.CALL_COLUMNS, "calls", {"key": [key]}, "generation")
        return [_call(row) for row in rows]

    def verdicts_of_calls(
        self, keys: Sequence[bytes], parser: int
    ) -> dict[bytes, list[StoredVerdict]]:
        """Per call key, the newest-generation verdicts that this parser version read."""
        found: dict[bytes, dict[Row, StoredVerdict]] = {}
        where = {"call_key": keys, "parser": [parser]}
        columns = (*_rows.VERDICT_COLUMNS, "created_at")
        for *row, stored_at in self._select(columns, "verdicts", where, "generation, id"):
            stored = replace(_rows.verdict_from_row(row), stored_at=stored_at)
            verdict = stored.verdict
            identity = (
                verdict.question_id, verdict.question_hash, verdict.model, verdict.answer_sample,
                verdict.criterion, verdict.ruler,
            )  # fmt: skip
            assert stored.call_key is not None
            found.setdefault(stored.call_key, {})[identity] = stored
        return {key: list(verdicts.values()) for key, verdicts in found.items()}

    def claim(self, wanted: Mapping[bytes, int], owner: str, lease_s: float) -> Claim:
        """Ask to execute calls; see `Ledger.claim`.

        The claims are taken first and finished calls given back after: a call that another owner
        finishes in between is seen, because its claim ends in the transaction that stores it.
        """
        if not wanted:
            return Claim(frozenset(), frozenset())
        # One order for all owners, so that they never wait for each other in a ring.
        keys = sorted(wanted)
        with self._db.transaction():
            gone = [
                other for (other,) in self._select(["DISTINCT owner"], "claims", {"key": keys})
                if other != owner and is_gone(other)
            ]  # fmt: skip
            granted = set[bytes]()
            for chunk in _chunks(keys):
                granted |= self._take(chunk, wanted, owner, lease_s, gone)
            newest = self._select(
                ["key", "max(generation)"], "calls", {"key": keys}, group="GROUP BY key"
            )
            finished = {key for key, generation in newest if generation >= wanted[key]}
            self._end_claims(owner, sorted(granted & finished))
        return Claim(frozenset(granted - finished), frozenset(finished))

    def _take(
        self,
        keys: Sequence[bytes],
        wanted: Mapping[bytes, int],
        owner: str,
        lease_s: float,
        gone: Sequence[str],
    ) -> set[bytes]:
        """Claim what is free, expired, ours, or held by somebody who is gone; return the keys."""
        free = self._db.among("claims.owner", gone)
        sql = _CLAIM.format(
            rows=", ".join([f"(?, ?, ?, {self._db.now} + ?)"] * len(keys)),
            now=self._db.now,
            gone=free.sql,
        )
        bindings = [value for key in keys for value in (key, wanted[key], owner, lease_s)]
        return {key for (key,) in self._all(sql, [*bindings, free.binding])}

    def renew(self, owner: str, lease_s: float) -> None:
        """Extend the lease of everything that the owner holds."""
        with self._db.transaction():
            self._lock_claims(owner)
            self._all(
                f"UPDATE claims SET expires = {self._db.now} + ? WHERE owner = ?", (lease_s, owner)
            )

    def release(self, owner: str, keys: Iterable[bytes] | None = None) -> None:
        """Give claims back: some keys, or all of the owner's."""
        with self._db.transaction():
            self._lock_claims(owner)
            if keys is None:
                self._all("DELETE FROM claims WHERE owner = ?", (owner,))
            else:
                self._end_claims(owner, list(keys))

    def _end_claims(self, owner: str, keys: Sequence[bytes]) -> None:
        if keys:
            mine = self._db.among("key", keys)
            self._all(f"DELETE FROM claims WHERE owner = ? AND {mine.sql}", (owner, mine.binding))

    def _lock_claims(self, owner: str) -> None:
        """Take an owner's rows in the order of their keys, as `claim` does."""
        if self._db.concurrent_writers:
            self._all("SELECT key FROM claims WHERE owner = ? ORDER BY key FOR UPDATE", (owner,))

    def append(
        self,
        *,
        calls: Sequence[Call] = (),
        attempts: Sequence[Attempt] = (),
        verdicts: Sequence[StoredVerdict] = (),
    ) -> None:
        """Append calls, attempts and verdicts in one transaction; claims on the calls end."""
        call_rows = sorted(map(_compressed, calls), key=lambda row: row[:2])
        verdict_rows = dated(map(_rows.verdict_row, verdicts))
        if self._db.concurrent_writers:
            verdict_rows.sort(key=lambda row: repr(row[: len(_rows.VERDICT_IDENTITY)]))
        with self._db.transaction():
            self._insert("calls", _rows.CALL_COLUMNS, call_rows)
            self._insert("attempts", _rows.ATTEMPT_COLUMNS, map(_rows.attempt_row, attempts))
            self._insert("verdicts", (*_rows.VERDICT_COLUMNS, "created_at"), verdict_rows)
            self._db.run_many(
                "DELETE FROM claims WHERE key = ? AND generation <= ?",
                [row[:2] for row in call_rows],
            )

    def add_verdicts(self, verdicts: Sequence[StoredVerdict]) -> None:
        """Append verdicts that come from elsewhere, all or none; see `Ledger.add_verdicts`."""
        said = ("status", "reason", "level", "scale_min", "scale_max")
        rows = [_rows.verdict_row(stored) for stored in verdicts]
        with self._db.transaction(alone_in="verdicts"):
            held = self._add(
                "verdicts",
                _rows.VERDICT_COLUMNS,
                rows,
                identity=_rows.VERDICT_IDENTITY,
                near=("question_id", "model", "criterion", "judge", "ruler", "occasion"),
                read=said,
            )
            for stored, row, there in zip(verdicts, rows, held, strict=True):
                if there != part(_rows.VERDICT_COLUMNS, row, said):
                    verdict = stored.verdict
                    raise LedgerError(
                        f"{self._db.place}: holds another verdict by {verdict.judge} on "
                        f"{verdict.model}, {verdict.question_id}, {verdict.criterion}. Verdicts "
                        "are never overwritten: give the new ones another judge, ruler or "
                        "occasion. Nothing was imported."
                    )

    def verdicts(
        self,
        *,
        rulers: Sequence[str] | None = None,
        occasion: str | None = None,
        models: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Current verdicts as a frame; see `Ledger.verdicts`."""
        from judge.ledger._frames import verdict_frame

        occasions = None if occasion is None else [occasion]
        where, bindings = self._where({"ruler": rulers, "occasion": occasions, "model": models})
        sql = _CURRENT_VERDICTS.format(columns=", ".join(_rows.VERDICT_COLUMNS), where=where)
        return verdict_frame(self._all(sql, bindings))

    def has_verdicts(self, rulers: Sequence[str], occasion: str) -> bool:
        """Whether there is any verdict of these rulers on an occasion."""
        where = {"ruler": rulers, "occasion": [occasion]}
        return bool(self._select(["1"], "verdicts", where, "id LIMIT 1"))

    def spending(self, keys: Sequence[bytes]) -> Mapping[str, float]:
        """Sums over the calls of these keys and their follow-ups."""
        names = ("calls", "priced", "prompt_tokens", "cached_tokens", "completion_tokens", "cost")
        sums = ["count(*)", "count(cost)", *(f"sum({name})" for name in names[2:])]
        totals = dict.fromkeys(names, 0.0)
        for column in ("key", "parent"):
            row = self._select(sums, "calls", {column: keys})[0]
            for name, total in zip(names, row, strict=True):
                totals[name] += float(total or 0)
        return totals

    def call_frame(self, keys: Sequence[bytes]) -> pl.DataFrame:
        """The calls of these keys and their follow-ups, without their bodies."""
        from judge.ledger._frames import call_frame

        rows = [
            row
            for column in ("key", "parent")
            for row in self._select(_rows.CALL_FACTS, "calls", {column: keys}, "id")
        ]
        return call_frame(rows)


def _call(row: Row) -> Call:
    values = dict(zip(_rows.CALL_COLUMNS, row, strict=True))
    for name in ("request", "response"):
        values[name] = zlib.decompress(values[name])
    return Call(**values)


def _compressed(call: Call) -> Row:
    row = _rows.call_row(call)
    at = _rows.CALL_COLUMNS.index("request")
    request, response = (zlib.compress(body, _COMPRESSION) for body in row[at : at + 2])
    return (*row[:at], request, response, *row[at + 2 :])


def _chunks(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    size = _VALUES_PER_STATEMENT
    return (keys[start : start + size] for start in range(0, len(keys), size))
