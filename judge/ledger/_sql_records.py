"""Answers, ratings, documents, runs and notes in SQL: what people and servers handed in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from judge.canonical import canonical, digest, text_hash
from judge.errors import LedgerError
from judge.ledger import _rows
from judge.ledger._protocol import BatchEvent, Review, Run, SeriesEvent, StoredAnswer
from judge.ledger._sql_tables import SqlTables, dated, quoted
from judge.questions import question_to_dict
from judge.records import Answer, Question, Rating

if TYPE_CHECKING:
    import polars as pl


class SqlRecords(SqlTables):
    """The part of `Ledger` that is neither calls nor verdicts."""

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

    def ratings(self) -> pl.DataFrame:
        """All ratings, one row each."""
        from judge.ledger._frames import rating_frame

        columns = list(map(quoted, _rows.RATING_COLUMNS))
        return rating_frame(self._select(columns, "ratings", {}, "id"))

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

    def runs(self, kinds: Sequence[str]) -> list[Run]:
        """The runs of some kinds, newest first."""
        columns = ("run", "kind", "body", "started_at")
        return [
            Run(run=run, kind=kind, body=json.loads(body), started_at=started_at)
            for run, kind, body, started_at in self._select(
                columns, "runs", {"kind": kinds}, "id DESC"
            )
        ]

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
                dated([(model, _rows.dump(dict(body)))]),
            )

    def add_batch_event(self, event: BatchEvent) -> None:
        """Note what happened to a batch."""
        row = (event.batch, event.model, event.status, _rows.dump(dict(event.body)))
        self._append_row("batches", ("batch", "model", "status", "body"), row)

    def batch_events(self, model: str) -> list[BatchEvent]:
        """What happened to the batches of a model, oldest first."""
        columns = ("batch", "model", "status", "body", "created_at")
        return [
            BatchEvent(batch=batch, model=name, status=status, body=json.loads(body), at=at)
            for batch, name, status, body, at in self._select(
                columns, "batches", {"model": [model]}, "id"
            )
        ]

    def add_review(self, review: Review) -> None:
        """Note what a person decided about an escalated answer."""
        columns = ("escalation", "decision", "reviewer", "note")
        row = (review.escalation, review.decision, review.reviewer, review.note)
        self._append_row("reviews", columns, row)

    def reviews(self) -> list[Review]:
        """All reviews, oldest first."""
        columns = ("escalation", "decision", "reviewer", "note", "created_at")
        return [
            Review(escalation=escalation, decision=decision, reviewer=reviewer, note=note, at=at)
            for escalation, decision, reviewer, note, at in self._select(
                columns, "reviews", {}, "id"
            )
        ]

    def add_series_event(self, event: SeriesEvent) -> None:
        """Note what happened in a series."""
        columns = ("series", "kind", "name", "body")
        row = (event.series, event.kind, event.name, canonical(dict(event.body)).decode())
        with self._db.transaction(alone_in="series_events"):
            ((there,),) = self._add(
                "series_events", columns, [row],
                identity=("series", "kind", "name"), near=("series", "name"), read=("body",),
            )  # fmt: skip
        if there != row[-1]:
            raise LedgerError(
                f"{self._db.place}: the series {event.series} holds another {event.kind} "
                f"{event.name}. What happened is never overwritten."
            )

    def series_events(
        self, series: str | None = None, kind: str | None = None
    ) -> list[SeriesEvent]:
        """What happened in a series (None: in all), in the order in which it was noted."""
        columns = ("series", "kind", "name", "body", "created_at")
        where = {
            column: None if value is None else [value]
            for column, value in (("series", series), ("kind", kind))
        }
        return [
            SeriesEvent(series=of, kind=what, name=name, body=json.loads(body), at=at)
            for of, what, name, body, at in self._select(columns, "series_events", where, "id")
        ]

    def _append_row(self, table: str, columns: Sequence[str], row: _rows.Row) -> None:
        with self._db.transaction():
            self._insert(table, (*columns, "created_at"), dated([row]))
