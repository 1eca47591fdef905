"""The fixed words of a report, in the languages that it can be written in.

One catalogue per language (``texts/LANGUAGE.toml``) with the same keys. Catalogues are files of
ours and may hold markup; what is put into their places never is trusted: `Texts.html` escapes it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from judge.errors import UsageError

LANGUAGES: Mapping[str, str] = {"en": "en", "zh": "zh-Hans"}
"""The languages of a report, and what ``<html lang>`` says for them."""

_FOLDER = Path(__file__).resolve().parent / "texts"


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of one language."""

    language: str
    entries: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def get(self, key: str, **values: object) -> str:
        """The text of a dotted key with its places filled; KeyError for an unknown key.

        Whole numbers get their separators. Where the language tells one from many, the number is
        ``n``.
        """
        return self._form(key, values).format(**{n: _shown(v) for n, v in values.items()})

    def html(self, key: str, *, clean: Callable[[object], object], **values: object) -> Markup:
        """The same as markup: values are put through ``clean``, then escaped."""
        form = Markup(self._form(key, values))  # noqa: S704 - a file of ours
        return form.format(**{name: clean(_shown(value)) for name, value in values.items()})

    def _form(self, key: str, values: Mapping[str, object]) -> str:
        found = self._find(key)
        if isinstance(found, Mapping) and set(found) == {"one", "other"}:
            found = found["one" if values["n"] == 1 else "other"]
        if not isinstance(found, str):
            raise KeyError(f"texts/{self.language}.toml: no text {key}")
        return found

    def _find(self, key: str) -> Any:
        node: Any = self.entries
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return node


@cache
def texts(language: str) -> Texts:
    """The catalogue of a language; UsageError if reports cannot be written in it."""
    if language not in LANGUAGES:
        raise UsageError(
            f"{language}: reports are written in {' or '.join(LANGUAGES)}. Choose one of these "
            "with --lang."
        )
    return Texts(language, tomllib.loads((_FOLDER / f"{language}.toml").read_text("utf-8")))


def _shown(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
