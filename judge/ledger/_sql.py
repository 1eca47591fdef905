"""The ledger in SQL, the same for every database."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from judge.canonical import canonical, digest, text_hash
from judge.errors import LedgerError
from judge.ledger import _rows
from judge.ledger._database import Database
from judge.ledger._owner import is_gone
from judge.ledger._protocol import Attempt, Call, Claim, Run, StoredAnswer, StoredVerdict
from judge.ledger._rows import Row
from judge.questions import question_to_dict
from judge.records import Answer, Question, Rating

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


class SqlLedger:
    """A ledger in an SQL database; see `Ledger` for what each method promises."""

    def __init__(self, database: Database) -> None:
        self.url = database.url
        self._db = database

    def calls(self, keys: Sequence[bytes]) -> dict[bytes, Call]:
        """The newest generation of each call that the ledger holds."""
        found: dict[bytes, Call] = {}
        for row in self._select(_rows.CALL_COLUMNS, "calls", {"key": keys}, "generation"):
            values = dict(zip(_rows.CALL_COLUMNS, row, strict=True))
            for name in ("request", "response"):
                values[name] = zlib.decompress(values[name])
            found[values["key"]] = Call(**values)
        return found

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
        verdict_rows = _dated(map(_rows.verdict_row, verdicts))
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
                if there != _part(_rows.VERDICT_COLUMNS, row, said):
                    verdict = stored.verdict
                    raise LedgerError(
                        f"{self._db.place}: holds another verdict by {verdict.judge} on "
                        f"{verdict.model}, {verdict.question_id}, {verdict.criterion}. Verdicts "
                        "are never overwritten: give the new ones another judge, ruler or "
                        "occasion. Nothing was imported."
                    )

    def add_answers(
        self, answers: Sequence[Answer], questions: Mapping[str, Question] | None = None
    ) -> list[int]:
        """Append answers, all or none, and return their row ids in order."""
        with self._db.transaction(alone_in="answers"):
            documents = self._add_questions(questions or {})
            hashes = [text_hash(answer.answer) for answer in answers]
            held = self._add(
                "answers",
                _rows.ANSWER_COLUMNS,
                [
                    _rows.answer_row(answer, hashed, documents.get(answer.question_id))
                    for answer, hashed in zip(answers, hashes, strict=True)
                ],
                identity=_rows.ANSWER_IDENTITY,
                near=("question_id", "model"),
                read=("id", "answer_hash"),
            )
            for answer, hashed, (_, there) in zip(answers, hashes, held, strict=True):
                if there != hashed:
                    raise LedgerError(
                        f"{self._db.place}: holds another answer of {answer.model} to "
                        f"{answer.question_id} (sample {answer.sample}"
                        + (f", occasion {answer.occasion}" if answer.occasion else "")
                        + "). Answers are never overwritten: give the new ones another model "
                        "name, sample or occasion. Nothing was imported."
                    )
        return [answer_id for answer_id, _ in held]

    def answers(
        self, models: Sequence[str] | None = None, ids: Sequence[int] | None = None
    ) -> list[StoredAnswer]:
        """Stored answers, in the order in which they came."""
        where, bindings = self._where({"a.model": models, "a.id": ids})
        return self._stored_answers(
            f"answers a LEFT JOIN documents d ON d.key = a.question {where}", bindings
        )

    def run_answers(self, run: str) -> list[StoredAnswer]:
        """The answers of a run, each with the question as it was used."""
        return self._stored_answers(
            "run_answers ra JOIN runs r ON r.id = ra.run JOIN answers a ON a.id = ra.answer "
            "JOIN documents d ON d.key = ra.question WHERE r.run = ?",
            [run],
        )

    def _stored_answers(self, source: str, bindings: Sequence[Any]) -> list[StoredAnswer]:
        columns = ", ".join(f"a.{column}" for column in _rows.ANSWER_COLUMNS)
        sql = f"SELECT a.id, d.body, {columns} FROM {source} ORDER BY a.id"
        return [_rows.answer_from_row(row) for row in self._all(sql, bindings)]

    def add_ratings(self, ratings: Sequence[Rating]) -> None:
        """Append ratings, all or none; the same rating again is not stored twice."""
        with self._db.transaction(alone_in="ratings"):
            held = self._add(
                "ratings",
                _rows.RATING_COLUMNS,
                [_rows.rating_row(rating) for rating in ratings],
                identity=_rows.RATING_IDENTITY,
                near=("question_id", "model", "rater"),
                read=("rating", "scale_min", "scale_max"),
            )
            for rating, there in zip(ratings, held, strict=True):
                if there != (rating.rating, rating.scale_min, rating.scale_max):
                    raise LedgerError(
                        f"{self._db.place}: holds another rating by {rating.rater} of "
                        f"{rating.model} on {rating.question_id}, {rating.criterion} "
                        f"({there[0]:g} on {there[1]:g} to {there[2]:g}). Ratings are never "
                        "overwritten: a second opinion needs a rater name of its own. Nothing was "
                        "imported."
                    )

    def add_document(self, kind: str, body: Any) -> bytes:
        """Store a JSON value under its content hash and return the hash."""
        with self._db.transaction():
            return self._add_documents(kind, [body])[0]

    def _add_documents(self, kind: str, bodies: Iterable[Any]) -> list[bytes]:
        rows = [(digest([kind, body]), kind, canonical(body).decode()) for body in bodies]
        self._insert("documents", ("key", "kind", "body"), sorted(rows))
        return [key for key, _, _ in rows]

    def _add_questions(self, questions: Mapping[str, Question]) -> dict[str, bytes]:
        keys = self._add_documents("question", map(question_to_dict, questions.values()))
        return dict(zip(questions, keys, strict=True))

    def document(self, key: bytes) -> Any:
        """A stored JSON value."""
        for (body,) in self._select(["body"], "documents", {"key": [key]}):
            return json.loads(body)
        raise LedgerError(f"{self._db.place}: holds no document {key.hex()}.")

    def add_run(self, run: Run, answers: Sequence[tuple[int, Question]]) -> None:
        """Record a run with the answers that it covers and the questions as used."""
        with self._db.transaction():
            ids = self._all(
                "INSERT INTO runs (run, kind, body, started_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING RETURNING id",
                (run.run, run.kind, _rows.dump(dict(run.body)), run.started_at),
            )
            if not ids:
                raise LedgerError(
                    f"{self._db.place}: holds a run {run.run} already. A run is recorded once; "
                    "start another one."
                )
            distinct = {id(question): question for _, question in answers}
            keys = self._add_documents("question", map(question_to_dict, distinct.values()))
            documents = dict(zip(distinct, keys, strict=True))
            self._insert(
                "run_answers",
                ("run", "answer", "question"),
                [(ids[0][0], answer, documents[id(question)]) for answer, question in answers],
            )

    def run(self, run: str | None = None) -> Run | None:
        """A run by id (a unique prefix will do), or the newest; None if there is none."""
        prefix = run or ""
        rows = self._all(
            "SELECT run, kind, body, started_at FROM runs WHERE substr(run, 1, ?) = ? "
            "ORDER BY CASE WHEN run = ? THEN 0 ELSE 1 END, id DESC LIMIT 2",
            (len(prefix), prefix, prefix),
        )
        if not rows:
            return None
        if prefix and len(rows) > 1 and rows[0][0] != prefix:
            raise LedgerError(
                f"{self._db.place}: several runs begin with {prefix}, such as {rows[0][0]} and "
                f"{rows[1][0]}; give more of the id."
            )
        name, kind, body, started_at = rows[0]
        return Run(run=name, kind=kind, body=json.loads(body), started_at=started_at)

    def capabilities(self, model: str) -> Mapping[str, Any] | None:
        """What the endpoint of a model was last found to accept."""
        found = self._select(["body"], "capabilities", {"model": [model]}, "id DESC LIMIT 1")
        return json.loads(found[0][0]) if found else None

    def add_capabilities(self, model: str, body: Mapping[str, Any]) -> None:
        """Note what the endpoint of a model accepts."""
        with self._db.transaction():
            self._insert(
                "capabilities",
                ("model", "body", "created_at"),
                _dated([(model, _rows.dump(dict(body)))]),
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

    def ratings(self) -> pl.DataFrame:
        """All ratings, one row each."""
        from judge.ledger._frames import rating_frame

        columns = list(map(_quoted, _rows.RATING_COLUMNS))
        return rating_frame(self._select(columns, "ratings", {}, "id"))

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

    def close(self) -> None:
        """End the connection."""
        self._db.close()

    def _all(self, sql: str, bindings: Sequence[Any] = ()) -> list[Row]:
        return self._db.rows(sql, bindings)

    def _select(
        self,
        columns: Sequence[str],
        table: str,
        where: Mapping[str, Sequence[Any] | None],
        order: str | None = None,
        group: str = "",
    ) -> list[Row]:
        conditions, bindings = self._where(where)
        ordered = "" if order is None else f"ORDER BY {order}"
        return self._all(
            f"SELECT {', '.join(columns)} FROM {table} {conditions} {group} {ordered}", bindings
        )

    def _where(self, wanted: Mapping[str, Sequence[Any] | None]) -> tuple[str, list[Any]]:
        """A WHERE clause (column → the values that will do, None: any), and its bindings."""
        conditions = [
            self._db.among(column, values)
            for column, values in wanted.items()
            if values is not None
        ]
        if not conditions:
            return "", []
        clause = " AND ".join(condition.sql for condition in conditions)
        return f"WHERE {clause}", [condition.binding for condition in conditions]

    def _insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Insert rows; those whose identity the table holds already are left as they are there.

        Not INSERT OR IGNORE, which would drop rows that break any other rule of the table too.
        """
        names = ", ".join(map(_quoted, columns))
        marks = ", ".join("?" * len(columns))
        self._db.run_many(
            f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING", rows
        )

    def _add(
        self,
        table: str,
        columns: Sequence[str],
        rows: Sequence[Row],
        *,
        identity: Sequence[str],
        near: Sequence[str],
        read: Sequence[str],
    ) -> list[Row]:
        """Insert rows; return, for each, some columns of what the table holds under its identity.

        ``near`` are columns of the identity by which the database narrows the search.
        """
        self._insert(table, (*columns, "created_at"), _dated(rows))
        near_values = {name: list({row[columns.index(name)] for row in rows}) for name in near}
        held = {
            row[: len(identity)]: row[len(identity) :]
            for row in self._select((*identity, *read), table, near_values)
        }
        return [held[_part(columns, row, identity)] for row in rows]


def _dated(rows: Iterable[Row]) -> list[Row]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return [(*row, now) for row in rows]


def _part(columns: Sequence[str], row: Row, wanted: Sequence[str]) -> Row:
    return tuple(row[columns.index(name)] for name in wanted)


def _compressed(call: Call) -> Row:
    row = _rows.call_row(call)
    at = _rows.CALL_COLUMNS.index("request")
    request, response = (zlib.compress(body, _COMPRESSION) for body in row[at : at + 2])
    return (*row[:at], request, response, *row[at + 2 :])


def _quoted(column: str) -> str:
    return f'"{column}"'


def _chunks(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    size = _VALUES_PER_STATEMENT
    return (keys[start : start + size] for start in range(0, len(keys), size))
