"""Reading a YAML file field by field; errors name file, line and field, and never show a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from judge.documents import Document
from judge.errors import InputError
from judge.nightly._settings import NightlyConfig
from judge.resources import shipped

HIDDEN = "a value that is not shown here (it may be a secret)"
START = "Relative paths start at the folder of this file"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """A file, what it says, and where its relative paths start."""

    document: Document
    data: Mapping[str, Any]
    base: Path

    def section(self, name: str, kind: type[T]) -> T:
        """A section of plain fields, with the defaults of its settings."""
        return kind(**typed(kind, self.data.get(name, {})))

    def named(self, name: str, folder: str, *others: str) -> str:
        """A file beside this one, or the name of a shipped one; a file wins."""
        default = NightlyConfig.__dataclass_fields__[name].default
        text = str(self.data.get(name, default))
        if (file := beside(self.base, text)).is_file():
            return str(file)
        known = sorted({*others, *(entry.stem for entry in shipped(folder).glob("*.yaml"))})
        if text not in known:
            raise self.document.error(
                [name],
                found=f"{text}, where there is no file",
                expected=f"a file, or one of {', '.join(known)}",
                remedy=START,
            )
        return text


@contextmanager
def unshown_secrets() -> Iterator[None]:
    """Leave what may be a secret out of an error about the file's form.

    A webhook's address is often written where the name of its variable belongs.
    """
    try:
        yield
    except InputError as error:
        place, found = error.field or "", error.found or ""
        within = place.split(".")[0].split("[")[0] == "notify"
        if not within or not ("://" in found or place.endswith("_env")):
            raise
        raise InputError(
            path=error.path,
            line=error.line,
            field=error.field,
            found=HIDDEN,
            expected=error.expected,
            remedy="Secrets stay out of this file: it names environment variables "
            "(url_env, user_env, password_env)",
        ) from None


def typed(kind: type, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with numbers and choices of the types that the settings ``kind`` declare.

    YAML has 1 for 1.0 and 3.0 for 3.
    """
    hints = get_type_hints(kind)
    return {name: _as(hints[name], value) for name, value in entry.items()}


def _as(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if hint in {float, float | None}:
        return float(value)
    if hint in {int, int | None}:
        return int(value)
    return hint(value) if isinstance(hint, type) and issubclass(hint, StrEnum) else value


def beside(base: Path, text: str) -> Path:
    """A path of the file, whole."""
    return base / Path(text).expanduser()
