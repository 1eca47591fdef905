"""The embedded ledger: SQLite in WAL mode, through apsw.

apsw brings its own SQLite: versions 3.7.0 to 3.51.2, which many systems ship, can corrupt a WAL
database that two connections write. Full-text bodies are compressed.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from judge.canonical import canonical, digest, text_hash
from judge.errors import LedgerError
from judge.ledger import _rows
from judge.ledger._owner import is_gone
from judge.ledger._protocol import Attempt, Call, Claim, Run, StoredAnswer, StoredVerdict
from judge.questions import question_to_dict
from judge.records import Answer, Question, Rating

if TYPE_CHECKING:
    import polars as pl

_APPLICATION_ID = 0x504C4D42  # "PLMB"
_BUSY_TIMEOUT_MS = 30_000
_IN_LIST = 500
_MIGRATIONS = Path(__file__).parent / "migrations" / "sqlite"

_CURRENT_VERDICTS = """
SELECT {columns} FROM (
  SELECT *, row_number() OVER (
    PARTITION BY question_id, model, answer_sample, ifnull(answer_hash, x''), criterion, ruler,
      judge, sample, occasion
    ORDER BY generation DESC, parser DESC
  ) AS newest FROM verdicts {where}
) WHERE newest = 1 ORDER BY id
"""


class SqliteLedger:
    """A ledger in one SQLite file; see `Ledger` for what each method promises.

    One connection, guarded by a lock, so that a writer thread and the main thread can share it.
    Committed work survives the kill of the process; after a power loss the file is consistent,
    but the last commits may be missing (synchronous=NORMAL).
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path
        self._lock = threading.RLock()
        if not create and not path.exists():
            raise LedgerError(
                f"{path}: there is no ledger here yet. Score some answers first "
                "(judge score, judge demo), or name the right one with --ledger."
            )
        if not path.parent.is_dir():
            raise LedgerError(f"{path}: the folder {path.parent} does not exist. Create it first.")
        with self._explained("open"):
            self._db = apsw.Connection(str(path))
            self._db.set_busy_timeout(_BUSY_TIMEOUT_MS)
            self._migrate()

    def _migrate(self) -> None:
        """Bring a new or older file up to date; refuse a newer one and a foreign one."""
        scripts = sorted(_MIGRATIONS.glob("*.sql"))
        version = int(self._one("PRAGMA user_version"))
        application = int(self._one("PRAGMA application_id"))
        tables = int(self._one("SELECT count(*) FROM sqlite_schema"))
        if application != _APPLICATION_ID and (tables or application):
            raise LedgerError(
                f"{self._path}: a SQLite file of another program. Choose another file with "
                "--ledger."
            )
        if version > len(scripts):
            raise LedgerError(
                f"{self._path}: written by a newer Plumbline (ledger version {version}; this one "
                f"knows versions up to {len(scripts)}). Upgrade Plumbline, or use another ledger "
                "with --ledger. Nothing was changed."
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        if version == len(scripts):
            return
        with self._transaction("create") as db:
            # Another process may have migrated since the version was read.
            version = int(self._one("PRAGMA user_version"))
            for script in scripts[version:]:
                db.execute(script.read_text("utf-8"))
            db.execute(f"PRAGMA user_version = {len(scripts)}")
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Turn a database error into one that says which ledger, what, and what to do."""
        try:
            yield
        except apsw.FullError as error:
            raise LedgerError(
                f"{self._path}: the disk is full; the ledger could not be written. Everything "
                "committed before is intact. Free some space and run the same command again."
            ) from error
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise LedgerError(
                f"{self._path}: not a readable SQLite database ({error}). Name another file with "
                "--ledger, or restore this one from a copy."
            ) from error
        except (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError) as error:
            raise LedgerError(
                f"{self._path}: cannot be opened for writing ({error}). Check the permissions of "
                "the file and its folder."
            ) from error
        except apsw.IOError as error:
            raise LedgerError(
                f"{self._path}: the system could not {verb} the ledger ({error}). Everything "
                "committed before is intact. Check the disk and run the same command again."
            ) from error
        except apsw.BusyError as error:
            raise LedgerError(
                f"{self._path}: another process kept the ledger locked for "
                f"{_BUSY_TIMEOUT_MS // 1000} s. Wait for it, then run the same command again."
            ) from error

    @contextmanager
    def _transaction(self, verb: str = "write") -> Iterator[apsw.Connection]:
        """A write transaction: committed as a whole, or rolled back as a whole."""
        with self._lock, self._explained(verb):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _all(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._explained("read"):
            return list(self._db.execute(sql, bindings))

    def _one(self, sql: str, bindings: Sequence[Any] = ()) -> Any:
        rows = self._all(sql, bindings)
        return rows[0][0] if rows else None

    def calls(self, keys: Sequence[bytes]) -> dict[bytes, Call]:
        """The newest generation of each call that the ledger holds."""
        found: dict[bytes, Call] = {}
        columns = ", ".join(_rows.CALL_COLUMNS)
        for chunk in _chunks(keys):
            rows = self._all(
                f"SELECT {columns} FROM calls WHERE key IN ({_marks(chunk)}) ORDER BY generation",
                chunk,
            )
            for row in rows:
                values = dict(zip(_rows.CALL_COLUMNS, row, strict=True))
                for name in ("request", "response"):
                    values[name] = zlib.decompress(values[name])
                found[values["key"]] = Call(**values)
        return found

    def verdicts_of_calls(
        self, keys: Sequence[bytes], parser: int
    ) -> dict[bytes, list[StoredVerdict]]:
        """Per call key, the newest-generation verdicts that this parser version read."""
        found: dict[bytes, dict[tuple[Any, ...], StoredVerdict]] = {}
        columns = ", ".join(_rows.VERDICT_COLUMNS)
        for chunk in _chunks(keys):
            rows = self._all(
                f"SELECT {columns} FROM verdicts WHERE call_key IN ({_marks(chunk)}) "
                "AND parser = ? ORDER BY generation",
                [*chunk, parser],
            )
            for row in rows:
                stored = _rows.verdict_from_row(row)
                verdict = stored.verdict
                identity = (
                    verdict.question_id, verdict.model, verdict.answer_sample, verdict.criterion,
                    verdict.ruler,
                )  # fmt: skip
                assert stored.call_key is not None
                found.setdefault(stored.call_key, {})[identity] = stored
        return {key: list(verdicts.values()) for key, verdicts in found.items()}

    def claim(self, wanted: Mapping[bytes, int], owner: str, lease_s: float) -> Claim:
        """Ask to execute calls; see `Ledger.claim`."""
        now = time.time()
        granted: set[bytes] = set()
        finished: set[bytes] = set()
        with self._transaction("claim work in") as db:
            for key, generation in wanted.items():
                if db.execute(
                    "SELECT 1 FROM calls WHERE key = ? AND generation >= ?", (key, generation)
                ).fetchone():
                    finished.add(key)
                    continue
                held = db.execute(
                    "SELECT owner, expires FROM claims WHERE key = ?", (key,)
                ).fetchone()
                if held and held[0] != owner and held[1] > now and not is_gone(held[0]):
                    continue
                db.execute(
                    "INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT (key) "
                    "DO UPDATE SET owner = excluded.owner, expires = excluded.expires",
                    (key, owner, now + lease_s),
                )
                granted.add(key)
        return Claim(frozenset(granted), frozenset(finished))

    def renew(self, owner: str, lease_s: float) -> None:
        """Extend the lease of everything that the owner holds."""
        with self._transaction() as db:
            db.execute(
                "UPDATE claims SET expires = ? WHERE owner = ?", (time.time() + lease_s, owner)
            )

    def release(self, owner: str, keys: Iterable[bytes] | None = None) -> None:
        """Give claims back: some keys, or all of the owner's."""
        with self._transaction() as db:
            if keys is None:
                db.execute("DELETE FROM claims WHERE owner = ?", (owner,))
            else:
                db.executemany(
                    "DELETE FROM claims WHERE owner = ? AND key = ?", [(owner, k) for k in keys]
                )

    def append(
        self,
        *,
        calls: Sequence[Call] = (),
        attempts: Sequence[Attempt] = (),
        verdicts: Sequence[StoredVerdict] = (),
    ) -> None:
        """Append calls, attempts and verdicts in one transaction; claims on the calls end."""
        now = _now()
        rows = [_compressed(_rows.call_row(call)) for call in calls]
        with self._transaction() as db:
            db.executemany(_insert("calls", _rows.CALL_COLUMNS), rows)
            db.executemany(
                _insert("attempts", _rows.ATTEMPT_COLUMNS), map(_rows.attempt_row, attempts)
            )
            db.executemany(
                _insert("verdicts", (*_rows.VERDICT_COLUMNS, "created_at")),
                [(*_rows.verdict_row(verdict), now) for verdict in verdicts],
            )
            db.executemany("DELETE FROM claims WHERE key = ?", [(call.key,) for call in calls])

    def add_verdicts(self, verdicts: Sequence[StoredVerdict]) -> None:
        """Append verdicts that come from elsewhere, all or none; see `Ledger.add_verdicts`."""
        now = _now()
        identity = (
            "question_id", "model", "answer_sample", "answer_hash", "criterion", "judge", "ruler",
            "sample", "occasion", "generation", "parser",
        )  # fmt: skip
        where = " AND ".join(f"{column} IS ?" for column in identity)
        with self._transaction() as db:
            for stored in verdicts:
                row = _rows.verdict_row(stored)
                db.execute(_insert("verdicts", (*_rows.VERDICT_COLUMNS, "created_at")), (*row, now))
                values = dict(zip(_rows.VERDICT_COLUMNS, row, strict=True))
                held = db.execute(
                    "SELECT status, reason, level, scale_min, scale_max FROM verdicts "
                    f"WHERE {where}",
                    [values[column] for column in identity],
                ).fetchone()
                said = ("status", "reason", "level", "scale_min", "scale_max")
                if held != tuple(values[column] for column in said):
                    verdict = stored.verdict
                    raise LedgerError(
                        f"{self._path}: holds another verdict by {verdict.judge} on "
                        f"{verdict.model}, {verdict.question_id}, {verdict.criterion}. Verdicts "
                        "are never overwritten: give the new ones another judge, ruler or "
                        "occasion. Nothing was imported."
                    )

    def add_answers(
        self, answers: Sequence[Answer], questions: Mapping[str, Question] | None = None
    ) -> list[int]:
        """Append answers, all or none, and return their row ids in order."""
        now = _now()
        known = questions or {}
        insert = _insert("answers", (*_rows.ANSWER_COLUMNS, "created_at"))
        ids: list[int] = []
        with self._transaction() as db:
            documents = {
                name: _add_document(db, "question", question_to_dict(question))
                for name, question in known.items()
            }
            for answer in answers:
                identity = (answer.question_id, answer.model, answer.sample, answer.occasion)
                hashed = text_hash(answer.answer)
                row = _rows.answer_row(answer, hashed, documents.get(answer.question_id))
                db.execute(insert, (*row, now))
                answer_id, stored = db.execute(
                    "SELECT id, answer_hash FROM answers WHERE question_id = ? AND model = ? "
                    "AND sample = ? AND occasion = ?",
                    identity,
                ).fetchone()
                if stored != hashed:
                    raise LedgerError(
                        f"{self._path}: holds another answer of {answer.model} to "
                        f"{answer.question_id} (sample {answer.sample}"
                        + (f", occasion {answer.occasion}" if answer.occasion else "")
                        + "). Answers are never overwritten: give the new ones another model "
                        "name, sample or occasion. Nothing was imported."
                    )
                ids.append(answer_id)
        return ids

    def answers(
        self, models: Sequence[str] | None = None, ids: Sequence[int] | None = None
    ) -> list[StoredAnswer]:
        """Stored answers, in the order in which they came."""
        where, bindings = "", list(models or ())
        if models is not None:
            where = f"WHERE a.model IN ({_marks(models)})"
        rows = self._all(
            f"SELECT a.id, d.body, {_prefixed('a', _rows.ANSWER_COLUMNS)} FROM answers a "
            f"LEFT JOIN documents d ON d.key = a.question {where} ORDER BY a.id",
            bindings,
        )
        wanted = None if ids is None else set(ids)
        return [
            _rows.answer_from_row(row) for row in rows if wanted is None or row[0] in wanted
        ]

    def add_ratings(self, ratings: Sequence[Rating]) -> None:
        """Append ratings, all or none; the same rating again is not stored twice."""
        now = _now()
        with self._transaction() as db:
            for rating in ratings:
                row = _rows.rating_row(rating)
                db.execute(_insert("ratings", (*_rows.RATING_COLUMNS, "created_at")), (*row, now))
                stored = db.execute(
                    "SELECT rating, scale_min, scale_max FROM ratings WHERE question_id = ? "
                    "AND model = ? AND sample = ? AND criterion = ? AND rater = ?",
                    row[:5],
                ).fetchone()
                if stored != (rating.rating, rating.scale_min, rating.scale_max):
                    raise LedgerError(
                        f"{self._path}: holds another rating by {rating.rater} of {rating.model} "
                        f"on {rating.question_id}, {rating.criterion} ({stored[0]:g}). Ratings are "
                        "never overwritten: a second opinion needs a rater name of its own. "
                        "Nothing was imported."
                    )

    def add_document(self, kind: str, body: Any) -> bytes:
        """Store a JSON value under its content hash and return the hash."""
        with self._transaction() as db:
            return _add_document(db, kind, body)

    def document(self, key: bytes) -> Any:
        """A stored JSON value."""
        body = self._one("SELECT body FROM documents WHERE key = ?", (key,))
        if body is None:
            raise LedgerError(f"{self._path}: holds no document {key.hex()}.")
        return json.loads(body)

    def add_run(self, run: Run, answers: Sequence[tuple[int, Question]]) -> None:
        """Record a run with the answers that it covers and the questions as used."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO runs (run, kind, body, started_at) VALUES (?, ?, ?, ?)",
                (run.run, run.kind, _rows.dump(dict(run.body)), run.started_at),
            )
            row = db.last_insert_rowid()
            questions: dict[int, bytes] = {}
            for _, question in answers:
                if id(question) not in questions:
                    questions[id(question)] = _add_document(
                        db, "question", question_to_dict(question)
                    )
            db.executemany(
                "INSERT INTO run_answers VALUES (?, ?, ?)",
                [(row, answer, questions[id(question)]) for answer, question in answers],
            )

    def run(self, run: str | None = None) -> Run | None:
        """A run by id (a unique prefix will do), or the newest; None if there is none."""
        rows = self._all(
            "SELECT run, kind, body, started_at FROM runs WHERE substr(run, 1, ?) = ? "
            "ORDER BY id DESC LIMIT 2",
            (len(run or ""), run or ""),
        )
        if not rows:
            return None
        if run and len(rows) > 1 and rows[0][0] != run:
            raise LedgerError(f"{self._path}: several runs begin with {run}; give more of the id.")
        name, kind, body, started_at = rows[0]
        return Run(run=name, kind=kind, body=json.loads(body), started_at=started_at)

    def run_answers(self, run: str) -> list[StoredAnswer]:
        """The answers of a run, each with the question as it was used."""
        rows = self._all(
            f"SELECT a.id, d.body, {_prefixed('a', _rows.ANSWER_COLUMNS)} FROM run_answers ra "
            "JOIN runs r ON r.id = ra.run JOIN answers a ON a.id = ra.answer "
            "JOIN documents d ON d.key = ra.question WHERE r.run = ? ORDER BY a.id",
            (run,),
        )
        return [_rows.answer_from_row(row) for row in rows]

    def capabilities(self, model: str) -> Mapping[str, Any] | None:
        """What the endpoint of a model was last found to accept."""
        body = self._one(
            "SELECT body FROM capabilities WHERE model = ? ORDER BY id DESC LIMIT 1", (model,)
        )
        return None if body is None else json.loads(body)

    def add_capabilities(self, model: str, body: Mapping[str, Any]) -> None:
        """Note what the endpoint of a model accepts."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO capabilities (model, body, created_at) VALUES (?, ?, ?)",
                (model, _rows.dump(dict(body)), _now()),
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

        conditions, bindings = [], list[Any]()
        for column, values in (("ruler", rulers), ("model", models)):
            if values is not None:
                conditions.append(f"{column} IN ({_marks(values)})")
                bindings += values
        if occasion is not None:
            conditions.append("occasion = ?")
            bindings.append(occasion)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = _CURRENT_VERDICTS.format(columns=", ".join(_rows.VERDICT_COLUMNS), where=where)
        return verdict_frame(self._all(sql, bindings))

    def ratings(self) -> pl.DataFrame:
        """All ratings, one row each."""
        from judge.ledger._frames import rating_frame

        columns = ", ".join(map(_quoted, _rows.RATING_COLUMNS))
        return rating_frame(self._all(f"SELECT {columns} FROM ratings ORDER BY id"))

    def spending(self, keys: Sequence[bytes]) -> Mapping[str, float]:
        """Sums over the calls of these keys."""
        names = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens", "cost")
        totals = dict.fromkeys(names, 0.0)
        for chunk in _chunks(keys):
            row = self._all(
                "SELECT count(*), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), "
                f"sum(cost) FROM calls WHERE key IN ({_marks(chunk)})",
                chunk,
            )[0]
            for name, value in zip(names, row, strict=True):
                totals[name] += value or 0
        return totals

    def close(self) -> None:
        """Close the connection; the write-ahead log is folded into the file."""
        with self._lock, self._explained("close"):
            self._db.close()


def _add_document(db: apsw.Connection, kind: str, body: Any) -> bytes:
    key = digest([kind, body])
    db.execute(
        "INSERT OR IGNORE INTO documents VALUES (?, ?, ?)", (key, kind, canonical(body).decode())
    )
    return key


def _compressed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    at = _rows.CALL_COLUMNS.index("request")
    request, response = (zlib.compress(body, 1) for body in row[at : at + 2])
    return (*row[:at], request, response, *row[at + 2 :])


def _insert(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(map(_quoted, columns))
    return f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({_marks(columns)})"


def _quoted(column: str) -> str:
    return f'"{column}"'


def _prefixed(table: str, columns: Sequence[str]) -> str:
    return ", ".join(f"{table}.{column}" for column in columns)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _chunks(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[start : start + _IN_LIST] for start in range(0, len(keys), _IN_LIST))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
