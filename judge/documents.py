"""YAML documents: read with line numbers, validated by JSON Schema, refused with a place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from judge.errors import InputError
from judge.resources import shipped

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

FieldPath: TypeAlias = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML file that can say on which line each of its fields stands."""

    path: Path
    data: Any
    """Plain dicts, lists and scalars."""
    nodes: Any
    """The same with the positions that the parser noted."""

    def line(self, field: FieldPath) -> int | None:
        """Line (from 1) of a field, or of its nearest parent that is there; None if unknown."""
        node, line = self.nodes, 1
        for part in field:
            position = getattr(node, "lc", None)
            try:
                at = position.key(part) if isinstance(part, str) else position.item(part)  # type: ignore[union-attr]
                node = node[part]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
            line = at[0] + 1
        return line

    def error(
        self, field: FieldPath, *, expected: str, found: object = None, remedy: str | None = None
    ) -> InputError:
        """An `InputError` about one field of this document."""
        return InputError(
            path=self.path,
            line=self.line(field),
            field=show_field(field) or None,
            found=None if found is None else show_value(found),
            expected=expected,
            remedy=remedy,
        )


def show_field(field: FieldPath) -> str:
    """A field path as people write it: ``criteria[2].levels[0].description``."""
    text = ""
    for part in field:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def show_value(value: object, limit: int = 60) -> str:
    """A value for an error message, shortened."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def read_text(path: Path) -> str:
    """The text of a UTF-8 file (a byte order mark is dropped).

    Raises InputError for a file that is missing, empty, or in another encoding (with the line).
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(path=path, expected="a file that exists") from None
    except OSError as error:
        raise InputError(path=path, expected=f"a readable file ({error.strerror})") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            path=path,
            line=raw[: error.start].count(b"\n") + 1,
            found=f"byte 0x{raw[error.start]:02x}",
            expected="UTF-8 text",
            remedy="Save the file as UTF-8 (e.g. iconv -f gb18030 -t utf-8)",
        ) from None
    if not text.strip():
        raise InputError(path=path, found="an empty file", expected="content")
    return text


def load_document(path: Path, schema: str) -> Document:
    """Read a YAML file and validate it against a shipped JSON Schema.

    ``schema`` names ``schemas/SCHEMA.schema.json``. YAML 1.2: ``no`` and ``on`` stay strings,
    duplicate keys are refused. Raises InputError with file, line, field, what was found and what
    was expected.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    text = read_text(path)
    try:
        nodes = YAML(typ="rt").load(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            path=path,
            line=mark.line + 1 if mark else None,
            expected=f"YAML ({(error.problem or error.context or 'unreadable').strip()})",
        ) from None
    except YAMLError as error:
        raise InputError(path=path, expected=f"YAML ({error})") from None
    document = Document(path, _plain(nodes), nodes)
    problems = sorted(validator(schema).iter_errors(document.data), key=lambda e: [str(p) for p in e.path])
    if problems:
        problem = _innermost(problems[0])
        field = list(problem.absolute_path)
        raise document.error(field, **describe_violation(problem))
    return document


def _plain(node: Any) -> Any:
    """A parsed node without the parser's own types."""
    match node:
        case dict():
            return {_plain(key): _plain(value) for key, value in node.items()}
        case list():
            return [_plain(value) for value in node]
        case bool() | None:
            return node
        case int():
            return int(node)
        case float():
            return float(node)
        case str():
            return str(node)
    return str(node)


@cache
def validator(schema: str) -> Validator:
    """The compiled validator of a shipped schema (``rubric``, ``weights``, ``questions``, ...)."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(shipped(f"schemas/{schema}.schema.json").read_text("utf-8")))


def _innermost(problem: ValidationError) -> ValidationError:
    """Of a failed ``oneOf``, the branch that the author meant (its ``const`` kind matches)."""
    for branch in problem.context or ():
        siblings = [e for e in problem.context or () if e.schema_path[0] == branch.schema_path[0]]
        if not any(e.validator == "const" for e in siblings):
            return _innermost(branch)
    return problem


def describe_violation(problem: ValidationError) -> dict[str, Any]:
    """``expected``, ``found`` and ``remedy`` of a schema violation, in words for a person."""
    wanted, value = problem.validator_value, problem.instance
    match problem.validator:
        case "required":
            missing = [name for name in wanted if name not in value]
            return {"expected": f"the field {missing[0]}", "found": _keys(value)}
        case "additionalProperties":
            known = list(problem.schema.get("properties", {}))
            unknown = [key for key in value if key not in known]
            return {
                "expected": f"only the fields {', '.join(known)}",
                "found": f"the unknown field {unknown[0]}",
            }
        case "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            return {"expected": " or ".join(kinds), "found": value if value is not None else "null"}
        case "enum":
            options = ", ".join("null" if v is None else str(v) for v in wanted)
            return {"expected": f"one of {options}", "found": value}
        case "minLength":
            return {"expected": "text that is not empty", "found": "empty text"}
        case "minItems" | "minProperties":
            return {"expected": f"at least {wanted} entry", "found": f"{len(value)} entries"}
        case "minimum":
            return {"expected": f"a number of at least {wanted}", "found": value}
        case "maximum":
            return {"expected": f"a number of at most {wanted}", "found": value}
        case "pattern":
            return {"expected": f"text of the form {wanted}", "found": value}
    return {"expected": problem.message}


def _keys(value: Iterable[str]) -> str:
    return f"only {', '.join(map(str, value)) or 'nothing'}"
