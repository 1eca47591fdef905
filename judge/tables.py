"""Answers, verdicts and ratings as files: JSONL, CSV and Parquet, in and out.

Reading is all or nothing: the first bad row ends it with file, line, field, what was found and
what was expected. Writing replaces the target in one step.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from judge.documents import describe_violation, read_text, show_field, show_value, validator
from judge.errors import InputError, UsageError
from judge.questions import QuestionSet
from judge.records import Answer, Question, Rating, Reason, Status, Verdict

if TYPE_CHECKING:
    import polars as pl

FORMATS = (".jsonl", ".csv", ".parquet")
UNSPECIFIED_RULER = "unspecified/"
"""Prefix of the ruler of imported verdicts that name none: one ruler per judge."""

_JSON_COLUMNS = frozenset({"scores", "evidence", "usage", "generation", "unscored"})
_NUMBER_COLUMNS = frozenset({"score", "rating", "scale_min", "scale_max"})
_INTEGER_COLUMNS = frozenset({"sample"})

Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """The answers of a file, and what it says about their questions."""

    path: Path
    answers: tuple[Answer, ...]
    lines: tuple[int, ...]
    questions: Mapping[str, Row]
    """question_id → the question fields given in the file (question, reference, category, ...)."""


def read_answers(path: Path) -> AnswerFile:
    """Read answers. Raises InputError; also for an answer given twice or two texts of a question."""
    answers: list[Answer] = []
    lines: list[int] = []
    questions: dict[str, Row] = {}
    given: dict[str, int] = {}
    seen = _Seen(path, ("question_id", "model", "sample", "occasion"))
    for line, row in _rows(path, "answers"):
        answer = Answer(
            question_id=row["question_id"],
            model=row["model"],
            answer=row["answer"],
            sample=row.get("sample") or 0,
            occasion=row.get("occasion") or "",
            finish_reason=row.get("finish_reason"),
            usage=row.get("usage"),
            generation=row.get("generation"),
        )
        seen.add(line, (answer.question_id, answer.model, answer.sample, answer.occasion))
        about = {name: row[name] for name in _QUESTION_FIELDS if row.get(name) not in (None, "")}
        earlier = questions.setdefault(answer.question_id, about)
        first = given.setdefault(answer.question_id, line)
        if earlier != about:
            field = next(n for n in _QUESTION_FIELDS if earlier.get(n) != about.get(n))
            raise InputError(
                path=path,
                line=line,
                field=field,
                found=show_value(about.get(field, "nothing")),
                expected=f"the same as on line {first} for {answer.question_id} "
                f"({show_value(earlier.get(field, 'nothing'))})",
            )
        answers.append(answer)
        lines.append(line)
    return AnswerFile(path, tuple(answers), tuple(lines), questions)


_QUESTION_FIELDS = ("question", "reference", "category", "domain", "language")


def questions_for(file: AnswerFile, known: QuestionSet | None) -> dict[str, Question]:
    """The question of every answer: from the file, completed from a question set.

    The set's reference, facts and checks are used where the file gives no text of its own or the
    same text. Raises InputError for an answer whose question is in neither.
    """
    by_id = {question.question_id: question for question in known or ()}
    resolved: dict[str, Question] = {}
    for answer, line in zip(file.answers, file.lines, strict=True):
        question_id = answer.question_id
        if question_id in resolved:
            continue
        about = file.questions[question_id]
        listed = by_id.get(question_id)
        if "question" in about and (listed is None or listed.question != about["question"]):
            resolved[question_id] = Question(question_id=question_id, **about)
        elif listed is not None:
            resolved[question_id] = replace(listed, **about)
        else:
            where = f"nor in the question set {known.name}" if known else "and no --questions given"
            raise InputError(
                path=file.path,
                line=line,
                field="question_id",
                found=f"{question_id}, whose text is neither in the column question {where}",
                expected="a question text for every answer",
                remedy="Add a column question, or name the question set with --questions",
            )
    return resolved


def read_verdicts(path: Path) -> list[Verdict]:
    """Read verdicts of any judge on any scale; ``score`` becomes the position on its scale."""
    verdicts: list[Verdict] = []
    seen = _Seen(
        path, ("question_id", "model", "sample", "criterion", "judge", "ruler", "occasion")
    )
    for line, row in _rows(path, "verdicts"):
        ruler = row.get("ruler") or f"{UNSPECIFIED_RULER}{row['judge']}"
        occasion = row.get("occasion") or ""
        answer_sample = row.get("sample") or 0
        seen.add(
            line,
            (
                row["question_id"], row["model"], answer_sample, row["criterion"], row["judge"],
                ruler, occasion,
            ),
        )  # fmt: skip
        common = Verdict(
            question_id=row["question_id"],
            model=row["model"],
            answer_sample=answer_sample,
            criterion=row["criterion"],
            judge=row["judge"],
            ruler=ruler,
            occasion=occasion,
            status=Status.NOT_APPLICABLE,
            evidence=tuple(row.get("evidence") or ()),
            rationale=row.get("rationale") or "",
        )
        verdicts += _samples(path, line, row, common)
    return verdicts


def _samples(path: Path, line: int, row: Row, common: Verdict) -> Iterator[Verdict]:
    """The verdicts of one row: one per sample, or one without a score."""
    scores = row.get("scores") or ([] if row.get("score") is None else [row["score"]])
    status = Status(row["status"]) if row.get("status") else Status.SCORED
    if status is not Status.SCORED:
        if scores:
            raise InputError(
                path=path, line=line, field="status", found=f"{status} beside scores",
                expected="no scores unless the status is scored",
            )  # fmt: skip
        reason = Reason(row["reason"]) if row.get("reason") else None
        if (status is Status.UNSCORED) != (reason is not None):
            raise InputError(
                path=path, line=line, field="reason", found=str(reason or "nothing"),
                expected="a reason if, and only if, the status is unscored",
            )  # fmt: skip
        yield replace(common, status=status, reason=reason)
        return
    low, high = _scale(path, line, row)
    if not scores:
        raise InputError(
            path=path, line=line, field="score", found="nothing",
            expected="score or scores",
            remedy="For a verdict without a score, give status (and reason)",
        )  # fmt: skip
    for sample, level in enumerate(scores):
        _within(path, line, "scores" if row.get("scores") else "score", level, low, high)
        yield replace(
            common,
            status=status,
            sample=sample,
            level=float(level),
            scale_min=low,
            scale_max=high,
            score=(level - low) / (high - low),
        )


def read_ratings(path: Path) -> list[Rating]:
    """Read human ratings. Raises InputError for a second rating of the same thing by a rater."""
    ratings: list[Rating] = []
    seen = _Seen(path, ("question_id", "model", "sample", "criterion", "rater"))
    for line, row in _rows(path, "ratings"):
        low, high = _scale(path, line, row)
        _within(path, line, "rating", row["rating"], low, high)
        rating = Rating(
            question_id=row["question_id"],
            model=row["model"],
            sample=row.get("sample") or 0,
            criterion=row["criterion"],
            rater=row["rater"],
            rating=float(row["rating"]),
            scale_min=low,
            scale_max=high,
            when=row.get("when"),
            note=row.get("note"),
        )
        seen.add(
            line, (rating.question_id, rating.model, rating.sample, rating.criterion, rating.rater)
        )
        ratings.append(rating)
    return ratings


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows by the ending of the path; the file appears as a whole or not at all.

    Raises UsageError for another ending or a folder that does not exist.
    """
    ending = _ending(path)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: the folder does not exist. Create it first.")
    handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        _WRITERS[ending](Path(temporary), rows)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _write_jsonl(path: Path, rows: Sequence[Row]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        if not rows:
            return
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import polars as pl

    flat = [
        {
            name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    pl.DataFrame(flat, infer_schema_length=None).write_parquet(path)


_WRITERS: dict[str, Callable[[Path, Sequence[Row]], None]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UsageError(f"{path}: expected a file that ends in {', '.join(FORMATS)}.")
    return ending


def _rows(path: Path, schema: str) -> Iterator[tuple[int, Row]]:
    """Validated rows with their line (CSV, JSONL) or row number (Parquet), from 1."""
    readers: dict[str, Callable[[Path, str], Iterator[tuple[int, Row]]]] = {
        ".jsonl": _jsonl_rows,
        ".csv": _csv_rows,
        ".parquet": _parquet_rows,
    }
    valid = _fast_validator(schema).is_valid
    empty = True
    for line, row in readers[_ending(path)](path, schema):
        empty = False
        if not valid(row):
            problem = next(validator(schema).iter_errors(row))
            violation = describe_violation(problem)
            if "found" in violation:
                violation["found"] = show_value(violation["found"])
            field = show_field(list(problem.absolute_path)) or None
            raise InputError(path=path, line=line, field=field, **violation)
        yield line, row
    if empty:
        raise InputError(path=path, found="no rows", expected="at least one row")


def _jsonl_rows(path: Path, schema: str) -> Iterator[tuple[int, Row]]:
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InputError(
                path=path,
                line=line,
                found=f"broken JSON ({error.msg} at character {error.pos})",
                expected="one JSON object per line",
            ) from None
        if not isinstance(row, dict):
            raise InputError(
                path=path, line=line, found=show_value(row), expected="a JSON object"
            )
        yield line, row


def _csv_rows(path: Path, schema: str) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(StringIO(read_text(path), newline=""), strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = _header(path, schema, cells)
            elif len(cells) != len(header):
                raise InputError(
                    path=path, line=line, found=f"{len(cells)} cells",
                    expected=f"{len(header)}, as in the header",
                )  # fmt: skip
            else:
                yield line, _typed(path, line, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InputError(path=path, line=start, expected=f"CSV ({error})") from None


def _header(path: Path, schema: str, cells: list[str]) -> list[str]:
    required = validator(schema).schema["required"]  # type: ignore[index]
    missing = [name for name in required if name not in cells]
    if missing:
        raise InputError(
            path=path,
            line=1,
            found=f"the columns {', '.join(cells)}",
            expected=f"also the column {missing[0]}",
        )
    return cells


def _typed(path: Path, line: int, row: dict[str, str]) -> Row:
    """Cells as values: numbers and JSON parsed by column; an empty optional cell is left out."""
    typed: Row = {}
    for name, cell in row.items():
        if cell == "" and name != "answer":
            continue
        try:
            if name in _INTEGER_COLUMNS:
                typed[name] = int(cell)
            elif name in _NUMBER_COLUMNS:
                typed[name] = float(cell)
            elif name in _JSON_COLUMNS:
                typed[name] = json.loads(cell)
            else:
                typed[name] = cell
        except ValueError:
            kind = "JSON" if name in _JSON_COLUMNS else "a number"
            raise InputError(
                path=path, line=line, field=name, found=show_value(cell), expected=kind
            ) from None
    return typed


def _parquet_rows(path: Path, schema: str) -> Iterator[tuple[int, Row]]:
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError:
        raise InputError(path=path, expected="a file that exists") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(path=path, expected=f"a Parquet file ({error})") from None
    for number, row in enumerate(frame.iter_rows(named=True), start=1):
        values = {name: value for name, value in row.items() if value is not None}
        for name in ("usage", "generation", "unscored"):
            if isinstance(values.get(name), str):
                values[name] = json.loads(values[name])
        yield number, values


class _Seen:
    """Refuses a second row of the same identity, naming both lines."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path = path
        self._names = names
        self._lines: dict[tuple[Any, ...], int] = {}

    def add(self, line: int, identity: tuple[Any, ...]) -> None:
        first = self._lines.setdefault(identity, line)
        if first != line:
            raise InputError(
                path=self._path,
                line=line,
                found=f"the same {', '.join(self._names)} as on line {first}",
                expected="each only once",
            )


@cache
def _fast_validator(schema: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(validator(schema).schema)


def _scale(path: Path, line: int, row: Row) -> tuple[float, float]:
    low, high = row.get("scale_min"), row.get("scale_max")
    if low is None or high is None or not low < high:
        raise InputError(
            path=path, line=line, field="scale_min, scale_max", found=f"{low} and {high}",
            expected="the two ends of the scale, the lower one first",
        )  # fmt: skip
    return float(low), float(high)


def _within(path: Path, line: int, field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(
            path=path,
            line=line,
            field=field,
            found=f"{value:g}",
            expected=f"a value on the scale {low:g} to {high:g}",
        )


def frame_rows(frame: pl.DataFrame) -> list[Row]:
    """The rows of a frame as mappings."""
    return list(frame.iter_rows(named=True))


def first_of(values: Iterable[T], default: T) -> T:
    """The first value, or the default if there is none."""
    return next(iter(values), default)
