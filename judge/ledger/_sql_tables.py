"""What every part of the SQL ledger builds on: statements, inserts that change nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from judge.ledger._database import Database
from judge.ledger._rows import Row


class SqlTables:
    """A database and the few forms of statement that the ledger uses."""

    def __init__(self, database: Database) -> None:
        self.url = database.url
        self._db = database

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
        names = ", ".join(map(quoted, columns))
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
        self._insert(table, (*columns, "created_at"), dated(rows))
        near_values = {name: list({row[columns.index(name)] for row in rows}) for name in near}
        held = {
            row[: len(identity)]: row[len(identity) :]
            for row in self._select((*identity, *read), table, near_values)
        }
        return [held[part(columns, row, identity)] for row in rows]


def dated(rows: Iterable[Row]) -> list[Row]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return [(*row, now) for row in rows]


def part(columns: Sequence[str], row: Row, wanted: Sequence[str]) -> Row:
    return tuple(row[columns.index(name)] for name in wanted)


def quoted(column: str) -> str:
    return f'"{column}"'
