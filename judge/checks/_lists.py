"""Items of the lists in a text."""

from __future__ import annotations

import re
from typing import NamedTuple

from judge.checks._text import LETTER, fold

_CHINESE = "[一二三四五六七八九十]{1,3}"
_COUNTED = "step|reason|tip|suggestion|example|idea|rule|point|option"
_ITEM = re.compile(
    # Indent, and a heading or bold type around the mark.
    r"^(?P<indent>[ \t]*)(?:#{1,6}[ \t]+|>[ \t]?)?(?:\*\*|__)?(?:"
    # 1. 1) (1) 1、 1: step 1: 一、 (一) 第一步
    rf"(?P<ordered>(?:(?:{_COUNTED})[ \t]#?)?\(?(?:(?P<number>\d{{1,3}})|{_CHINESE})"
    rf"(?:\)|[.、:](?!\d))|第[ ]?(?:\d{{1,3}}|{_CHINESE})[步条点个项,:、])"
    # Bullets and letters.
    r"|[-*+–][ \t]+|[•‣·●○◦▪■✅✔☑➤►▶][ \t]*|\(?[a-z][.)][ \t]+)"
    # Something is said after the mark.
    r"(?=[^\w\n]*\w)",
    re.MULTILINE,
)
_INLINE = re.compile(rf"(?<!{LETTER})(?<![.,])(?P<number>\d{{1,2}})(?:\)|、|[.:](?=[ \t]+[^\W\d]))")


class Item(NamedTuple):
    """The mark of a list item: its indent in columns, its number and where that stands, if any."""

    indent: int
    ordered: bool
    number: int | None
    number_start: int


def list_items(text: str) -> int:
    """How many items the lists of a text have, nested items not counted.

    Numbered lines count; if there are none, bulleted and lettered lines; with at most one line, a
    numbered list within the running text ("1) ... 2) ..."). Of lines, the outermost level counts.
    """
    folded = fold(text)
    lines = _line_items(folded)
    lines = [item for item in lines if item.ordered] or lines
    outermost = min((item.indent for item in lines), default=0)
    # Markdown nests from two columns on; one is a slip.
    count = sum(item.indent <= outermost + 1 for item in lines)
    return count if count > 1 else max(count, len(_inline_items(folded)))


def ordered_items(text: str) -> list[Item]:
    """Items of a folded text whose numbers count up from 1, in lines or else in running text."""
    items: list[Item] = []
    expected = 1
    for item in _line_items(text):
        if item.number is not None and item.number in (1, expected):
            items.append(item)
            expected = item.number + 1
    return items if len(items) > 1 else _inline_items(text) or items


def _line_items(text: str) -> list[Item]:
    """Marks of list items at the starts of lines of a folded text."""
    return [
        Item(
            len(match["indent"].expandtabs(4)),
            match["ordered"] is not None,
            int(match["number"]) if match["number"] else None,
            match.start("number"),
        )
        for match in _ITEM.finditer(text)
    ]


def _inline_items(text: str) -> list[Item]:
    """Marks of a list within running text, from 1 upwards, at least two."""
    items: list[Item] = []
    for match in _INLINE.finditer(text):
        if int(match["number"]) == len(items) + 1:
            items.append(Item(0, True, len(items) + 1, match.start("number")))
    return items if len(items) > 1 else []
