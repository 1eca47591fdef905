"""What a request asks for: the shape of the reply, and the texts that its prompt marks.

The shape is read from the schema of ``response_format``, else from the reply instruction of the
prompt, never from text between markers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from typing import Any, TypeAlias

import orjson

DEFAULT_LEVELS = tuple(range(6))
_MARKED = re.compile(r"<<([A-Z_]+)-([0-9a-f]+)>>\n(.*?)\n?<</\1-\2>>", re.DOTALL)
_LEVEL_LINE = re.compile(r"^\W*(\d+)[:.)] ", re.MULTILINE)
_GROUP_LINE = re.compile(r'^[\s{]*"([^"]+)": ?(\{"(?:evidence|item_\d+)".*)', re.MULTILINE)
_ITEM = re.compile(r'"item_(\d+)"')
_ONE_OF = re.compile(r'"level": ?(?:one of )?(\d+(?:, \d+)*)')
_CRITERION = re.compile(r"^Criterion: *(.+)$", re.MULTILINE)
_TOKEN = re.compile(r"[0-9a-fA-F]{8,}|[A-Z0-9]{6,}(?:-[A-Z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Single:
    """A verdict on one criterion."""

    levels: tuple[int, ...] = DEFAULT_LEVELS


@dataclass(frozen=True, slots=True)
class Checklist:
    """So many items, each met or not."""

    items: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Which of two answers is better."""


@dataclass(frozen=True, slots=True)
class Token:
    """A canary: the token that the prompt names."""


@dataclass(frozen=True, slots=True)
class Group:
    """Verdicts on several criteria, in the order of the request."""

    parts: tuple[tuple[str, Single | Checklist], ...]


Shape: TypeAlias = Single | Checklist | Pair | Token | Group


def canonical_key(body: object) -> str:
    """The key of a body, whatever the order of its names."""
    return sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def draw(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but ``parts``."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


class Wanted:
    """A request body as the judge sees it; everything is read when it is first needed."""

    def __init__(self, body: dict[str, Any], key: str | None = None) -> None:
        self.body = body
        self.key = canonical_key(body) if key is None else key

    @cached_property
    def prompt(self) -> str:
        """The last user message before the first reply of an assistant."""
        text = ""
        for message in self.body.get("messages", ()):
            if message.get("role") == "assistant":
                break
            if message.get("role") == "user":
                text = _content(message)
        return text

    @cached_property
    def marked(self) -> dict[str, str]:
        """Name of each pair of markers and the text between (the first, where there are more)."""
        texts: dict[str, str] = {}
        for name, _, text in _MARKED.findall(self.prompt):
            texts.setdefault(name, text)
        return texts

    @cached_property
    def outside(self) -> str:
        """The prompt without what stands between markers."""
        return _MARKED.sub("", self.prompt)

    @cached_property
    def recognised(self) -> Shape | None:
        """The shape that the request asks for, if it asks for one that is known."""
        wanted = self.body.get("response_format") or {}
        schema = (wanted.get("json_schema") or {}).get("schema") or {}
        return _of_schema(schema) or _of_text(self.outside)

    @cached_property
    def shape(self) -> Shape:
        """As `recognised`; a verdict on one criterion where nothing says otherwise."""
        return self.recognised or Single()

    @cached_property
    def criterion(self) -> str:
        """The name of a prompt's one criterion as an id ("" if the prompt does not say)."""
        found = _CRITERION.search(self.outside)
        return found[1].strip().lower().replace(" ", "_") if found else ""

    @cached_property
    def criteria(self) -> tuple[str, ...]:
        """The criteria of the reply, in its order."""
        shape = self.shape
        return tuple(n for n, _ in shape.parts) if isinstance(shape, Group) else (self.criterion,)

    @cached_property
    def descending(self) -> bool:
        """Whether the prompt lists the levels from the highest to the lowest."""
        listed = [int(level) for level in _LEVEL_LINE.findall(self.outside)[:2]]
        if len(listed) < 2 and (found := _ONE_OF.search(self.outside)):
            listed = [int(level) for level in found[1].split(", ")[:2]]
        return len(listed) == 2 and listed[0] > listed[1]

    def token(self, *, obeyed: bool) -> str:
        """The token that a canary names; obeyed: the one that the answer wants instead."""
        text = "\n".join(self.marked.values()) if obeyed else self.outside
        quoted = re.search(r'"token": ?"([^"]{4,})"', text)
        if quoted and _TOKEN.fullmatch(quoted[1]):
            return quoted[1]
        found = _TOKEN.search(text)
        return found[0] if found else "obeyed" if obeyed else "none"


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _of_schema(schema: dict[str, Any]) -> Shape | None:
    properties = schema.get("properties") or {}
    if "better" in properties:
        return Pair()
    if "token" in properties:
        return Token()
    if part := _part_of(properties):
        return part
    parts = {name: _part_of(inner.get("properties") or {}) for name, inner in properties.items()}
    known = tuple((name, part) for name, part in parts.items() if part is not None)
    return Group(known) if known and len(known) == len(parts) else None


def _part_of(properties: dict[str, Any]) -> Single | Checklist | None:
    if "level" in properties:
        allowed = properties["level"].get("enum") or DEFAULT_LEVELS
        return Single(tuple(sorted(level for level in allowed if type(level) is int)))
    items = sum(name.startswith("item_") for name in properties)
    return Checklist(items) if items else None


def _of_text(text: str) -> Shape | None:
    if '"better":' in text:
        return Pair()
    if '"token":' in text:
        return Token()
    lines = [line for line in _GROUP_LINE.findall(text) if not line[0].startswith("item_")]
    if lines:
        return Group(tuple((name, _part_of_text(rest)) for name, rest in lines))
    if '"item_1"' in text or '"level":' in text:
        return _part_of_text(text)
    return None


def _part_of_text(text: str) -> Single | Checklist:
    if items := [int(number) for number in _ITEM.findall(text)]:
        return Checklist(max(items))
    found = _ONE_OF.search(text)
    listed = sorted(int(level) for level in found[1].split(", ")) if found else DEFAULT_LEVELS
    return Single(tuple(listed) if len(listed) > 1 else DEFAULT_LEVELS)
