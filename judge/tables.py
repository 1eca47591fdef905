"""Answers, verdicts and ratings as files: JSONL, CSV and Parquet, in and out.

Reading is all or nothing: the first bad row ends it with file, line, field, what was found and
what was expected. Writing replaces the target in one step.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from judge.documents import (
    describe_violation,
    read_text,
    show_field,
    show_value,
    unreadable,
    validator,
)
from judge.errors import InputError, UsageError
from judge.questions import QuestionSet
from judge.records import Answer, Question, Rating, Reason, Status, Verdict

if TYPE_CHECKING:
    pass

FORMATS = (".jsonl", ".csv", ".parquet")
UNSPECIFIED_RULER = "unspecified/"
"""Prefix of the ruler of imported verdicts that name none: one ruler per judge."""

_OBJECT_COLUMNS = frozenset({"usage", "generation", "unscored"})
_JSON_COLUMNS = _OBJECT_COLUMNS | {"scores", "unit_scores", "evidence"}
_NUMBER_COLUMNS = frozenset({"score", "rating", "scale_min", "scale_max", "sample"})
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LARGEST_SAMPLE = 2**31 - 1
"""What every ledger can hold."""
_MOST_UNSCORED = 10_000
"""Samples of one row; more is a slip, and would fill the memory."""
_LONGEST_CELL = 2**31 - 1

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
    ignored: tuple[str, ...] = ()
    """Columns that mean nothing here, e.g. misspelt ones."""


def read_answers(path: Path) -> AnswerFile:
    """Read answers. Raises InputError, also for an answer given twice, or two texts of a question.

    The texts, references, ... of the questions are those that the file gives, row by row the same.
    """
    answers: list[Answer] = []
    lines: list[int] = []
    questions: dict[str, Row] = {}
    given: dict[str, int] = {}
    ignored: dict[str, None] = {}
    meant = validator("answers").schema["properties"]
    seen = _Seen(path, ("question_id", "model", "sample", "occasion"))
    for line, row in _rows(path, "answers"):
        ignored.update(dict.fromkeys(name for name in row if name not in meant))
        answer = Answer(
            question_id=row["question_id"],
            model=row["model"],
            answer=row["answer"],
            sample=row["sample"],
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
    return AnswerFile(path, tuple(answers), tuple(lines), questions, tuple(ignored))


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
        if "question" in about:
            own = Question(question_id=question_id, **about)
            resolved[question_id] = completed(own, listed) or own
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


def completed(own: Question | None, listed: Question | None) -> Question | None:
    """A question as it came with an answer, completed from a question set.

    The set's entry is used if there is no other, or if it has the same text; what the answer's
    own question says (reference, category, ...) stands. None if there is neither.
    """
    if own is None or listed is None or own.question != listed.question:
        return own or listed
    given = {field.name: getattr(own, field.name) for field in fields(own)}
    return replace(listed, **{name: value for name, value in given.items() if value})


def read_verdicts(path: Path) -> list[Verdict]:
    """Read verdicts of any judge on any scale; ``score`` becomes the position on its scale.

    A row is one verdict per sample: of ``score`` or ``scores``, and of ``unscored`` (reason →
    count), which exports carry for the samples without a level. Raises InputError for a row that
    contradicts itself, such as a score beside a reason for not having one.
    """
    verdicts: list[Verdict] = []
    seen = _Seen(
        path, ("question_id", "model", "sample", "criterion", "judge", "ruler", "occasion")
    )
    for line, row in _rows(path, "verdicts"):
        ruler = row.get("ruler") or f"{UNSPECIFIED_RULER}{row['judge']}"
        occasion = row.get("occasion") or ""
        answer_sample = row["sample"]
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
            answer_hash=_bytes(row.get("answer_hash")),
            question_hash=_bytes(row.get("question_hash")),
            status=Status.NOT_APPLICABLE,
            evidence=tuple(row.get("evidence") or ()),
            rationale=row.get("rationale") or "",
        )
        verdicts += _samples(path, line, row, common)
    return verdicts


def _samples(path: Path, line: int, row: Row, common: Verdict) -> Iterator[Verdict]:
    """The verdicts of one row: one per sample, or one without a score."""
    field = "scores" if row.get("scores") else "score"
    if field == "scores" and row.get("score") is not None:
        raise InputError(
            path=path, line=line, field="score", found="score beside scores",
            expected="one of the two",
        )  # fmt: skip
    scores = row.get("scores") or ([] if row.get("score") is None else [row["score"]])
    status = Status(row["status"]) if row.get("status") else Status.SCORED
    if scores and status is not Status.SCORED:
        raise InputError(
            path=path, line=line, field="status", found=f"{status} beside scores",
            expected="no scores unless the status is scored",
        )  # fmt: skip
    reason = Reason(row["reason"]) if row.get("reason") else None
    if (status is Status.UNSCORED) != (reason is not None):
        raise InputError(
            path=path, line=line, field="reason", found=str(reason or "nothing"),
            expected="a reason if, and only if, the status is unscored",
            remedy=None if row.get("status") or scores else "Give the status",
        )  # fmt: skip
    if status is Status.SCORED and not scores:
        raise InputError(
            path=path, line=line, field="score", found="nothing",
            expected="score or scores",
            remedy="For a verdict without a score, give status (and reason)",
        )  # fmt: skip
    if scores or row.get("scale_min") is not None or row.get("scale_max") is not None:
        low, high = _scale(path, line, row)
        common = replace(common, scale_min=low, scale_max=high)
    units = row.get("unit_scores") or [None] * len(scores)
    if len(units) != len(scores):
        raise InputError(
            path=path, line=line, field="unit_scores", found=f"{len(units)} numbers",
            expected=f"one per score ({len(scores)})",
        )  # fmt: skip
    for sample, (level, unit) in enumerate(zip(scores, units, strict=True)):
        _within(path, line, field, level, (common.scale_min, common.scale_max))
        position = (level - common.scale_min) / (common.scale_max - common.scale_min)
        yield replace(
            common,
            status=Status.SCORED,
            sample=sample,
            level=float(level),
            score=position if unit is None else unit,
        )
    if status is Status.NOT_APPLICABLE:
        yield common
    missing = _missing_samples(path, line, row, status, reason)
    for sample, why in enumerate(missing, start=len(scores)):
        yield replace(common, status=Status.UNSCORED, reason=why, sample=sample)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _missing_samples(
    path: Path, line: int, row: Row, status: Status, reason: Reason | None
) -> list[Reason]:
    """Why each sample without a level has none; the reason of the row comes first."""
    counts = row.get("unscored") or {}
    for name, count in counts.items():
        known = name in set(Reason) and status is not Status.NOT_APPLICABLE
        if not known or type(count) is not int or not 0 < count <= _MOST_UNSCORED:
            raise InputError(
                path=path,
                line=line,
                field=f"unscored.{name}",
                found=show_value(count),
                expected=f"samples without a score, by reason, 1 to {_MOST_UNSCORED} of each",
            )
    if reason is not None and reason not in counts:
        if counts:
            raise InputError(
                path=path,
                line=line,
                field="reason",
                found=f"{reason}, which unscored does not count",
                expected=f"one of {', '.join(counts)}",
            )
        return [reason]
    order = sorted(counts, key=lambda name: name != reason)
    return [Reason(name) for name in order for _ in range(counts[name])]


def read_ratings(path: Path) -> list[Rating]:
    """Read human ratings. Raises InputError for a second rating of the same thing by a rater."""
    ratings: list[Rating] = []
    seen = _Seen(path, ("question_id", "model", "sample", "criterion", "rater"))
    for line, row in _rows(path, "ratings"):
        low, high = _scale(path, line, row)
        _within(path, line, "rating", row["rating"], (low, high))
        rating = Rating(
            question_id=row["question_id"],
            model=row["model"],
            sample=row["sample"],
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

    Raises UsageError for another ending, a folder that does not exist, and a file that the system
    does not let us write.
    """
    ending = _ending(path)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{path}: the folder does not exist. Create it first.")
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".plumbline-")
        os.close(handle)
        temporary = Path(name)
        try:
            _WRITERS[ending](temporary, rows)
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({(error.strerror or str(error)).lower()}). Free some "
            "space, or name another file with --out."
        ) from error


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
        if not valid(row) and (problem := next(validator(schema).iter_errors(row), None)):
            field = show_field(list(problem.absolute_path)) or None
            raise InputError(path=path, line=line, field=field, **describe_violation(problem))
        row["sample"] = int(row.get("sample") or 0)
        if row["sample"] > _LARGEST_SAMPLE:
            raise InputError(
                path=path,
                line=line,
                field="sample",
                found=show_value(str(row["sample"])),
                expected=f"a number of at most {_LARGEST_SAMPLE}",
            )
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
            raise InputError(path=path, line=line, found=show_value(row), expected="a JSON object")
        if twice := _repeated_keys(text):
            raise InputError(
                path=path, line=line, field=twice[0], found="two values", expected="one value"
            )
        yield line, row


def _repeated_keys(text: str) -> list[str]:
    """Keys that an object of valid JSON has twice; a parser would silently keep the last."""
    twice: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice.extend(name for name in names if names.count(name) > 1)

    try:
        json.loads(text, object_pairs_hook=look)
    except RecursionError:
        return []  # deeper than any field goes; what is in it is not read
    return twice


def _csv_rows(path: Path, schema: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(_LONGEST_CELL)  # the default refuses answers of more than 128 KiB
    reader = csv.reader(StringIO(read_text(path), newline=""), strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = _header(path, schema, cells, line)
            elif len(cells) != len(header):
                raise InputError(
                    path=path, line=line, found=f"{len(cells)} cells",
                    expected=f"{len(header)}, as in the header",
                )  # fmt: skip
            else:
                yield line, _typed(path, line, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InputError(
            path=path, line=start, found=f"broken CSV ({error})", expected="CSV"
        ) from None


def _header(path: Path, schema: str, columns: list[str], line: int | None) -> list[str]:
    """The columns of a table, checked to be distinct and to include the required ones."""
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise InputError(
            path=path,
            line=line,
            found=f"the column {twice[0]} twice",
            expected="each column once",
        )
    required = validator(schema).schema["required"]
    missing = [name for name in required if name not in columns]
    if missing:
        raise InputError(
            path=path,
            line=line,
            found=f"the columns {show_value(', '.join(columns), 200)}",
            expected=f"also the column {missing[0]}",
        )
    return columns


def _typed(path: Path, line: int, row: dict[str, str]) -> Row:
    """Cells as values: numbers and JSON parsed by column; an empty optional cell is left out."""
    typed: Row = {}
    for name, cell in row.items():
        if cell == "" and name != "answer":
            continue
        try:
            if name in _NUMBER_COLUMNS:
                typed[name] = _number(cell)
            elif name in _JSON_COLUMNS:
                typed[name] = orjson.loads(cell)
            else:
                typed[name] = cell
        except ValueError:
            kind = "JSON" if name in _JSON_COLUMNS else "a number"
            raise InputError(
                path=path, line=line, field=name, found=show_value(cell), expected=kind
            ) from None
    return typed


def _number(cell: str) -> float:
    """A finite number in ASCII digits; ValueError otherwise (also for 1_000, inf and nan)."""
    if not _NUMBER.fullmatch(cell.strip()):
        raise ValueError(cell)
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _parquet_rows(path: Path, schema: str) -> Iterator[tuple[int, Row]]:
    import polars as pl

    try:
        with path.open("rb") as file:  # by name, polars would expand wildcards and folders
            frame = pl.read_parquet(file)
    except OSError as error:
        raise unreadable(path, error) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(
            path=path,
            found=f"a broken one ({show_value(str(error), 200)})",
            expected="a Parquet file",
        ) from None
    _header(path, schema, frame.columns, None)
    known = validator(schema).schema["properties"].keys() | _OBJECT_COLUMNS
    for number, row in enumerate(frame.iter_rows(named=True), start=1):
        yield (
            number,
            {
                name: _from_parquet(path, number, name, value)
                for name, value in row.items()
                if name in known and value is not None
            },
        )


def _from_parquet(path: Path, line: int, name: str, value: Any) -> Any:
    """A cell as JSON would hold it; objects are text (as we write them) or structs."""
    match value:
        case str() if name in _OBJECT_COLUMNS:
            try:
                return orjson.loads(value)
            except orjson.JSONDecodeError:
                raise InputError(
                    path=path, line=line, field=name, found=show_value(value), expected="JSON"
                ) from None
        case dict():  # a struct has all fields in every row
            return {key: inner for key, inner in value.items() if inner is not None}
        case date():  # and datetime
            return value.isoformat()
        case Decimal():
            return float(value)
        case float() if not math.isfinite(value):
            raise InputError(
                path=path, line=line, field=name, found=str(value), expected="a finite number"
            )
        case list():
            return [_from_parquet(path, line, name, inner) for inner in value]
        case None | bool() | int() | float() | str():
            return value
    raise InputError(
        path=path, line=line, field=name, found=type(value).__name__, expected="text or a number"
    )


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
    if low is None or high is None or not low < high or math.isinf(high - low):
        raise InputError(
            path=path,
            line=line,
            field="scale_min, scale_max",
            found=" and ".join("nothing" if end is None else f"{end:.15g}" for end in (low, high)),
            expected="the two ends of the scale, the lower one first",
        )
    return float(low), float(high)


def _within(path: Path, line: int, field: str, value: float, scale: tuple[float, float]) -> None:
    low, high = scale
    if not low <= value <= high:
        raise InputError(
            path=path,
            line=line,
            field=field,
            found=f"{value:.15g}",
            expected=f"a value on the scale {low:.15g} to {high:.15g}",
        )
